/** Finds messages in everything that this user may read. */

import { h, icon } from "../dom.js";
import { foundRow } from "./found_list.js";

const TYPING_MS = 300;

export class SearchPanel {
  constructor(chat, page) {
    this._chat = chat;
    this._page = page;
    this._asked = 0;
    this.id = "search";
    this.title = "Search";
    this._input = h("input", { id: "search-input", testid: "search-input", type: "search", placeholder: "Words, “a phrase”, from:me, has:file", maxlength: "500",
      autocomplete: "off", "aria-label": "Search messages", oninput: () => this._typed(), onkeydown: (event) => event.key === "Enter" && this._load() });
    this._here = h("input", { type: "checkbox", id: "search-here", testid: "search-here", onchange: () => this._load() });
    this._told = h("p", { class: "panel-told", role: "status", testid: "search-told" }, "Find messages by their words. before:2026-01-31, after: and has:link narrow it.");
    this._list = h("ul", { class: "found-list", testid: "search-results" });
    this._more = h("button", { type: "button", class: "button wide", testid: "search-more", hidden: true, onclick: () => this._load(this._next) }, "More");
    this.element = h("div", { class: "panel-fill" }, h("div", { class: "panel-tools" }, h("div", { class: "search" }, icon("search"), this._input),
      h("label", { class: "check", for: "search-here" }, this._here, "Only in this room")),
    h("div", { class: "panel-scroll" }, this._told, this._list, this._more));
  }

  focus() {
    this._input.focus();
  }

  render() {
    this._here.parentElement.hidden = !this._chat.room;
  }

  _typed() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._load(), TYPING_MS);
  }

  async _load(after = "") {
    const words = this._input.value.trim();
    const asked = ++this._asked;
    if (!words) return this._show([], {}, "");
    const query = this._here.checked && this._chat.room ? `${words} in:${this._chat.current}` : words;
    try {
      const page = await this._chat.command("search", { query, limit: 20, ...(after && { after }) }, { id: false });
      if (asked === this._asked) this._show(page.messages, page, after);
    } catch (error) {
      if (asked === this._asked) this._told.textContent = error.message;
    }
    return undefined;
  }

  _show(messages, { next, indexing }, after) {
    const rows = messages.map((event) => foundRow(this._chat, event, { testid: "search-result", go: () => this._page.jump(event.sequence, event.room) }));
    if (after) this._list.append(...rows);
    else this._list.replaceChildren(...rows);
    this._next = next;
    this._more.hidden = !next;
    const none = this._list.childElementCount === 0 && this._input.value.trim();
    this._told.textContent = indexing ? "The newest messages are still being taken in." : none && !next ? "Nothing was found." : "";
  }
}
