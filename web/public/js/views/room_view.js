/** The right pane: the open room's header, messages, composer and, on demand, its members. */

import { h, icon, iconButton } from "../dom.js";
import { Composer } from "./composer.js";
import { confirmDialog } from "./confirm_dialog.js";
import { InviteDialog } from "./invite_dialog.js";
import { MembersPanel } from "./members_panel.js";
import { MessageList } from "./message_list.js";

export class RoomView {
  /** `back` shows the list of rooms (on a phone); `notices` are the page's. */
  constructor(chat, { back, notices }) {
    this._chat = chat;
    this._notices = notices;
    this._messages = new MessageList(chat);
    this._composer = new Composer(chat, () => this._messages.stick());
    this._members = new MembersPanel(chat, { invite: () => this._invite(), close: () => this._showMembers(false) });
    this._build(back);
  }

  render() {
    const { room } = this._chat;
    this.element.hidden = !room;
    if (!room) {
      this._messages.render();
      return;
    }
    if (this._shown !== room.id) {
      this._shown = room.id;
      this._glyph.replaceChildren(icon(room.kind === "private" ? "lock" : "hash"));
    }
    this._name.textContent = room.name;
    this._kind.textContent = room.topic || (room.kind === "private" ? "Private room" : "Public room");
    this._count.textContent = String(room.memberCount);
    this._membersButton.setAttribute("aria-label", `${room.memberCount} ${room.memberCount === 1 ? "member" : "members"}`);
    this._inviteButton.hidden = room.archived;
    this._messages.render();
    this._composer.render();
    if (!this._members.element.hidden) this._members.render();
  }

  _build(back) {
    this._glyph = h("span", { class: "room-glyph" });
    this._name = h("h1", { id: "room-name", testid: "room-name" });
    this._kind = h("p", { class: "room-kind", testid: "room-kind" });
    this._count = h("span", { testid: "member-count" });
    this._membersButton = h("button", { type: "button", id: "show-members", testid: "show-members", class: "button ghost count",
      title: "Members", "aria-expanded": "false", "aria-controls": "members-panel",
      onclick: () => this._showMembers(this._members.element.hidden) }, icon("users"), this._count);
    this._inviteButton = iconButton("invite", "Invite someone", { id: "invite", testid: "invite", onclick: () => this._invite() });
    const header = h("header", { class: "room-head" },
      iconButton("back", "All rooms", { id: "back", testid: "back", class: "icon-button back", onclick: back }),
      this._glyph, h("div", { class: "room-title" }, this._name, this._kind),
      h("div", { class: "room-actions" }, this._membersButton, this._inviteButton,
        iconButton("leave", "Leave the room", { id: "leave-room", testid: "leave-room", onclick: () => this._leave() })));
    this.element = h("section", { class: "room", testid: "room", "aria-labelledby": "room-name", hidden: true },
      h("div", { class: "room-column" }, header, this._messages.element, this._composer.element), this._members.element);
  }

  _showMembers(shown) {
    this._members.element.hidden = !shown;
    this._membersButton.setAttribute("aria-expanded", String(shown));
    if (!shown) {
      this._membersButton.focus();
      return;
    }
    this._members.render();
    this._members.focus();
    this._chat.loadMembers();
  }

  _invite() {
    new InviteDialog(this._chat, this._notices).show();
  }

  async _leave() {
    const { room } = this._chat;
    const text = room.kind === "private"
      ? "You will need a new invitation to come back. The conversation stays for the others."
      : "You can join again at any time. The conversation stays for the others.";
    const sure = await confirmDialog({ id: "leave", title: `Leave ${room.name}?`, text, confirm: "Leave room", danger: true });
    if (!sure) return;
    try {
      await this._chat.leaveRoom(room.id);
    } catch (error) {
      this._notices.show(error.message, { bad: true });
    }
  }
}
