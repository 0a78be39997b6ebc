/** What is offered over the composer while a name or a slash command is written: arrows choose, Enter or Tab takes it. */

import { avatar } from "../avatar.js";
import { h, icon } from "../dom.js";
import { mentionAt, offered } from "../mentions.js";
import { slashAt, slashUsage } from "../slash.js";

const ASK_MS = 120;

export class Suggestions {
  constructor(chat, input) {
    this._chat = chat;
    this._input = input;
    this._items = [];
    this._chosen = 0;
    this._asked = 0;
    const id = `${input.id}-suggestions`;
    this.element = h("ul", { id, class: "composer-suggestions", role: "listbox", "aria-label": "Suggestions", testid: "suggestions", hidden: true });
    for (const [name, value] of [["aria-controls", id], ["aria-autocomplete", "list"]]) input.setAttribute(name, value);
    input.addEventListener("blur", () => setTimeout(() => this.hide(), 120));
  }

  /** The text or the caret has changed. */
  update() {
    const { value, selectionStart: caret } = this._input;
    const { room, me } = this._chat;
    const asked = ++this._asked;
    const prefix = slashAt(value, caret);
    if (prefix !== null) {
      setTimeout(() => asked === this._asked && this._askCommands(prefix, asked), ASK_MS);
      return;
    }
    const mention = mentionAt(value, caret);
    const members = [...(room?.members?.values() ?? [])];
    const people = mention ? offered(mention.query, members, { me: me.id, everybody: this._chat.rooms.moderates(room) }) : [];
    this._show(people.map((user) => ({
      node: [user.id ? avatar(user, "small") : icon("users"), h("span", {}, user.name, user.hint && h("small", {}, user.hint))],
      take: () => this._replace(mention.from, `@${user.name} `),
    })));
  }

  hide() {
    this._asked += 1;
    this._show([]);
  }

  /** Takes a key of the input's, if it is for the list. Returns whether it was. */
  key(event) {
    if (this.element.hidden || event.isComposing) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this._choose((this._chosen + step + this._items.length) % this._items.length);
    else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab") this._items[this._chosen].take();
    else if (event.key === "Escape") this.hide();
    else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  }

  async _askCommands(prefix, asked) {
    try {
      const { commands } = await this._chat.command("commands", { room: this._chat.current, prefix, limit: 8 }, { id: false });
      if (asked !== this._asked) return;
      this._show(commands.map((command) => ({
        node: [icon("slash"), h("span", {}, slashUsage(command), h("small", {}, `${command.description ?? ""} · ${command.bot.name}`))],
        take: () => this._replace(0, `/${command.name} `),
      })));
    } catch {
      this._show([]);
    }
  }

  _replace(from, text) {
    this._input.setRangeText(text, from, this._input.selectionStart, "end");
    this._input.dispatchEvent(new Event("input"));
    this.hide();
    this._input.focus();
  }

  _show(items) {
    this._items = items;
    this.element.hidden = items.length === 0;
    this.element.replaceChildren(...items.map(({ node, take }, index) =>
      h("li", { id: `${this.element.id}-${index}`, role: "option", testid: "suggestion", onpointerdown: (event) => event.preventDefault(), onclick: take }, node)));
    if (items.length > 0) this._choose(0);
    else this._input.removeAttribute("aria-activedescendant");
  }

  _choose(index) {
    this._chosen = index;
    [...this.element.children].forEach((row, at) => row.setAttribute("aria-selected", String(at === index)));
    this._input.setAttribute("aria-activedescendant", `${this.element.id}-${index}`);
    this.element.children[index].scrollIntoView({ block: "nearest" });
  }
}
