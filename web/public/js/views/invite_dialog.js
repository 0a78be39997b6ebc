/** Invites someone to the open room: by user id, or with one click when this page has met them in another room. */

import { avatar } from "../avatar.js";
import { h } from "../dom.js";
import { makeDialog, submitting } from "./dialog.js";

const MOST_SUGGESTED = 8;

export class InviteDialog {
  constructor(chat, notices) {
    this._chat = chat;
    this._notices = notices;
    this._room = chat.room;
    this._known = acquaintances(chat);
    this._id = h("input", { id: "invite-id", testid: "invite-id", required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "none",
      placeholder: "Their user ID", autofocus: true });
    this._error = h("p", { class: "form-error", role: "alert", testid: "invite-error" });
    this._button = h("button", { class: "button primary", id: "invite-submit", testid: "invite-submit" }, "Invite");
  }

  show() {
    const suggested = [...this._known.values()].filter(({ id }) => !this._room.members?.has(id)).slice(0, MOST_SUGGESTED);
    this._dialog = makeDialog("invite", `Invite to ${this._room.name}`,
      suggested.length > 0 && h("div", { class: "suggestions", role: "group", "aria-label": "People you know" }, suggested.map((user) =>
        h("button", { type: "button", class: "suggestion", testid: "invite-suggestion", onclick: () => this._fill(user) },
          avatar(user, "small"), user.name))),
      h("form", { onsubmit: (event) => this._submit(event) },
        h("div", { class: "field" }, h("label", { for: "invite-id" }, "User ID"), this._id,
          h("p", { class: "field-hint" }, "They find it in the menu at their name: “Copy my user ID”.")),
        this._error,
        h("div", { class: "dialog-actions" },
          h("button", { type: "button", class: "button", onclick: () => this._dialog.close() }, "Cancel"), this._button)));
    this._dialog.showModal();
  }

  _fill(user) {
    this._id.value = user.id;
    this._button.focus();
  }

  async _submit(event) {
    event.preventDefault();
    const id = this._id.value.trim();
    if (!(await submitting(this._button, this._error, () => this._chat.invite(this._room.id, { id })))) return;
    this._dialog.close();
    this._notices.show(`${this._known.get(id)?.name ?? "The user"} is invited.`);
  }
}

/** Everyone this page has seen, by id: in member lists, and as authors. */
function acquaintances({ store, me }) {
  const known = new Map();
  for (const room of store.rooms.values()) {
    for (const { id, name } of room.members?.values() ?? []) known.set(id, { id, name });
    for (const { actor } of room.events) known.set(actor.id, actor);
  }
  known.delete(me.id);
  return known;
}
