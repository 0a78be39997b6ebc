/** Begins a direct conversation: with people this page has met, or by user id. */

import { avatar } from "../avatar.js";
import { h, icon } from "../dom.js";
import { makeDialog, submitting } from "./dialog.js";

const MOST = 7;
const MOST_SHOWN = 30;

export class DirectDialog {
  constructor(chat) {
    this._chat = chat;
    this._chosen = new Map();
    this._search = h("input", { id: "direct-search", testid: "direct-search", type: "search", placeholder: "A name, or a user ID", autocomplete: "off",
      "aria-label": "Find people", autofocus: true, oninput: () => this._render() });
    this._chips = h("div", { class: "suggestions", role: "group", "aria-label": "Chosen" });
    this._list = h("ul", { class: "pick-list", testid: "direct-people" });
    this._error = h("p", { class: "form-error", role: "alert", testid: "direct-error" });
    this._button = h("button", { class: "button primary", testid: "direct-submit" }, "Open");
  }

  show() {
    this._dialog = makeDialog("direct", "New direct message", h("form", { onsubmit: (event) => this._submit(event) },
      h("div", { class: "search" }, icon("search"), this._search), this._chips, this._list, this._error,
      h("div", { class: "dialog-actions" }, h("button", { type: "button", class: "button", onclick: () => this._dialog.close() }, "Cancel"), this._button)));
    this._dialog.showModal();
    this._render();
  }

  _render() {
    const wanted = this._search.value.trim().toLocaleLowerCase();
    const people = [...this._chat.store.people].map(([id, name]) => ({ id, name }))
      .filter(({ id, name }) => id !== this._chat.me.id && !this._chosen.has(id) && (name.toLocaleLowerCase().includes(wanted) || id === this._search.value.trim()))
      .sort((a, b) => a.name.localeCompare(b.name));
    // Someone in no common room is written to by their id, which they can copy in the menu at their name.
    if (people.length === 0 && /^u_/u.test(wanted)) people.push({ id: this._search.value.trim(), name: this._search.value.trim() });
    this._list.replaceChildren(...people.slice(0, MOST_SHOWN).map((user) => h("li", {}, h("button", { type: "button", class: "pick", testid: "direct-person",
      onclick: () => this._choose(user) }, avatar(user, "small"), h("span", {}, user.name)))));
    this._chips.replaceChildren(...[...this._chosen.values()].map((user) => h("button", { type: "button", class: "suggestion", testid: "direct-chosen",
      "aria-label": `Remove ${user.name}`, onclick: () => {
        this._chosen.delete(user.id);
        this._render();
      } }, avatar(user, "small"), user.name, icon("close"))));
    this._button.textContent = this._chosen.size ? "Open" : "Notes to yourself";
  }

  _choose(user) {
    if (this._chosen.size === MOST) {
      this._error.textContent = `A direct conversation is between at most ${MOST + 1} people.`;
      return;
    }
    this._chosen.set(user.id, user);
    this._search.value = "";
    this._render();
    this._search.focus();
  }

  async _submit(event) {
    event.preventDefault();
    if (await submitting(this._button, this._error, () => this._chat.rooms.direct([...this._chosen.values()]))) this._dialog.close();
  }
}
