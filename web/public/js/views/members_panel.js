/** Who is in the open room, who of them is there now, and what can be done with each. */

import { avatar } from "../avatar.js";
import { h, icon } from "../dom.js";
import { presenceWord } from "../presence.js";
import { showPersonMenu } from "./person_menu.js";

export class MembersPanel {
  /** `actions`: `invite()` and the page's `notices`. */
  constructor(chat, actions) {
    this._chat = chat;
    this._actions = actions;
    this.id = "members";
    this.title = "Members";
    this._list = h("ul", { class: "member-list", testid: "member-list" });
    this._invite = h("button", { type: "button", class: "button wide", testid: "panel-invite", onclick: actions.invite }, icon("invite"), "Invite someone");
    this.element = h("div", { id: "members-panel", testid: "members-panel", class: "panel-fill" }, h("div", { class: "panel-scroll" }, this._list), this._invite);
  }

  render() {
    const { room, presence } = this._chat;
    if (!room) return;
    this._invite.hidden = room.archived || room.kind === "direct";
    const members = [...(room.members?.values() ?? [])].map((member) => ({ ...member, presence: presence.of(member.id) }));
    const state = JSON.stringify([room.id, members]);
    if (state === this._state) return;
    this._state = state;
    members.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
    const focused = this._list.contains(document.activeElement) && document.activeElement.dataset.user;
    this._list.replaceChildren(...members.map((member) => this._row(member)));
    if (focused) this._list.querySelector(`[data-user="${CSS.escape(focused)}"] button`)?.focus();
  }

  _row(member) {
    const label = member.state === "invited" ? "Invited" : { owner: "Owner", moderator: "Moderator" }[member.role];
    const button = h("button", { type: "button", class: "member-button", "data-user": member.id, "aria-haspopup": "menu", "aria-label": `${member.name}: ${presenceWord(member.presence)}`,
      onclick: () => showPersonMenu(button, this._chat, member, this._actions.notices) },
      h("span", { class: "face" }, avatar(member), h("span", { class: "presence-dot", testid: "presence", "data-state": member.presence, title: presenceWord(member.presence) })),
      h("span", { class: "member-name" }, member.name, member.id === this._chat.me.id && h("small", {}, " you")),
      label && h("span", { class: "tag" }, label));
    return h("li", { class: `member ${member.state}`, testid: "member", "data-user": member.id }, button);
  }
}

function rank(member) {
  if (member.state === "invited") return 4;
  const there = member.presence === "offline" ? 1 : 0;
  return member.role === "owner" || member.role === "moderator" ? there * 2 : 1 + there * 2;
}
