/** Invites to the open room: with one click whom this page has met, by user id, and whoever has a link. */

import { avatar } from "../avatar.js";
import { fullTime } from "../clock.js";
import { h, iconButton } from "../dom.js";
import { makeDialog, submitting } from "./dialog.js";

const MOST_SUGGESTED = 8;

export class InviteDialog {
  constructor(chat, notices) {
    this._chat = chat;
    this._notices = notices;
    this._room = chat.room;
    this._known = new Map([...chat.store.people].filter(([id]) => id && id !== chat.me.id).map(([id, name]) => [id, { id, name }]));
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
          h("button", { type: "button", class: "button", onclick: () => this._dialog.close() }, "Cancel"), this._button)),
      linkList(this._chat, this._room));
    this._dialog.showModal();
  }

  _fill(user) {
    this._id.value = user.id;
    this._button.focus();
  }

  async _submit(event) {
    event.preventDefault();
    const id = this._id.value.trim();
    if (!(await submitting(this._button, this._error, () => this._chat.rooms.invite(this._room.id, { id })))) return;
    this._dialog.close();
    this._notices.show(`${this._known.get(id)?.name ?? "The user"} is invited.`);
  }
}

const WEEK = 7 * 86_400;

/** The links into a room: makes, copies and revokes them. A code is known only where its link was made. */
export function linkList(chat, room) {
  const list = h("ul", { class: "settings-list", testid: "link-list" });
  const error = h("p", { class: "form-error", role: "alert" });
  const made = h("input", { class: "made-link", testid: "made-link", readonly: true, "aria-label": "The new link", hidden: true, onfocus: () => made.select() });
  const load = async () => {
    const { invites } = await chat.command("invites", { room: room.id }, { id: false });
    list.replaceChildren(...invites.map((one) => linkRow(chat, room, one, load)));
  };
  const make = h("button", { type: "button", class: "button", testid: "make-link", onclick: () => submitting(make, error, async () => {
    const { code } = await chat.command("invite.create", { room: room.id, seconds: WEEK });
    made.value = `${location.origin}/#invite=${encodeURIComponent(code)}`;
    made.hidden = false;
    made.focus();
    navigator.clipboard?.writeText(made.value).catch(() => {}); // where it may not be used, it is selected
    await load();
  }) }, "Make a link");
  load().catch(() => {}); // who may not invite has no links to see
  return h("section", { class: "links" }, h("h3", {}, "Links"), h("p", { class: "field-hint" }, "Whoever has a link can join, for seven days."), made, error, list, make);
}

function linkRow(chat, room, { invite, created_by: by, expires_at: expires, uses_left: uses }, load) {
  const name = by?.name ?? chat.store.nameOf(by);
  return h("li", { testid: "link" }, h("span", { class: "settings-name" }, h("strong", {}, `By ${name}`),
    h("small", {}, [expires ? `until ${fullTime(expires)}` : "without end", uses !== undefined && `${uses} uses left`].filter(Boolean).join(" · "))),
  iconButton("trash", "Revoke this link", { testid: "revoke-link", onclick: async () => {
    if (await chat.attempt(() => chat.command("invite.revoke", { room: room.id, invite }))) load();
  } }));
}
