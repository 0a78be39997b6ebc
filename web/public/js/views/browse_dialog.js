/** Finds public rooms by name, to join them. */

import { h, icon } from "../dom.js";
import { CreateDialog } from "./create_dialog.js";
import { makeDialog } from "./dialog.js";

const TYPING_MS = 180;

export class BrowseDialog {
  constructor(chat) {
    this._chat = chat;
    this._asked = 0;
    this._search = h("input", { id: "room-search", testid: "room-search", type: "search", placeholder: "Search rooms by name", autocomplete: "off",
      "aria-label": "Search rooms by name", autofocus: true, oninput: () => this._typed() });
    this._list = h("ul", { class: "browse-list", testid: "browse-list" });
    this._message = h("p", { class: "browse-message", testid: "browse-message", role: "status" });
    this._create = h("button", { type: "button", class: "button", testid: "browse-create", onclick: () => {
      this._dialog.close();
      new CreateDialog(chat).show();
    } }, icon("plus"), "Create a room");
  }

  show() {
    this._dialog = makeDialog("browse", "Browse rooms",
      h("div", { class: "search" }, icon("search"), this._search),
      h("div", { class: "browse-scroll" }, this._list, this._message),
      h("div", { class: "dialog-actions spread" }, this._create));
    this._dialog.showModal();
    this._load();
  }

  _typed() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._load(), TYPING_MS);
  }

  async _load() {
    const asked = ++this._asked;
    const search = this._search.value.trim();
    try {
      const { rooms, more } = await this._chat.rooms.browse(search);
      if (asked === this._asked) this._show(rooms, more, search);
    } catch (error) {
      if (asked === this._asked) this._say(error.message);
    }
  }

  _show(rooms, more, search) {
    this._list.replaceChildren(...rooms.map((room) => this._row(room)));
    if (rooms.length === 0) this._say(search ? `No room is called “${search}”.` : "There are no public rooms yet. Create the first one.");
    else this._say(more ? "There are more; search to narrow the list." : "");
  }

  _say(text) {
    this._message.textContent = text;
  }

  _row(room) {
    const people = `${room.members} ${room.members === 1 ? "member" : "members"}`;
    const action = h("button", { type: "button", class: `button small ${room.joined ? "" : "primary"}`, testid: "join-room",
      "aria-label": `${room.joined ? "Open" : "Join"} ${room.name}`, onclick: () => this._enter(room, action) }, room.joined ? "Open" : "Join");
    return h("li", { class: "browse-row", testid: "browse-row", "data-room": room.id },
      h("span", { class: "room-glyph" }, icon(room.kind === "private" ? "lock" : "hash")),
      h("span", { class: "browse-name" }, h("strong", {}, room.name), h("small", {}, room.archived ? `${people} · closed` : people)), action);
  }

  async _enter(room, action) {
    action.disabled = true;
    try {
      if (room.joined) this._chat.open(room.id);
      else await this._chat.rooms.join(room);
      this._dialog.close();
    } catch (error) {
      action.disabled = false;
      this._say(error.message);
    }
  }
}
