/** Who is in the open room. */

import { avatar } from "../avatar.js";
import { h, icon, iconButton } from "../dom.js";

export class MembersPanel {
  /** `actions`: `invite()` and `close()`. */
  constructor(chat, actions) {
    this._chat = chat;
    this._list = h("ul", { class: "member-list", testid: "member-list" });
    this._close = iconButton("close", "Close the member list", { testid: "close-members", onclick: actions.close });
    this.element = h("aside", { id: "members-panel", testid: "members-panel", class: "members-panel", "aria-label": "Members", hidden: true,
      onkeydown: (event) => event.key === "Escape" && actions.close() },
      h("header", { class: "panel-head" }, h("h2", {}, "Members"), this._close),
      h("div", { class: "panel-scroll" }, this._list),
      h("button", { type: "button", class: "button wide", testid: "panel-invite", onclick: actions.invite }, icon("invite"), "Invite someone"));
  }

  focus() {
    this._close.focus();
  }

  render() {
    const { room } = this._chat;
    const members = [...(room.members?.values() ?? [])];
    const state = JSON.stringify(members);
    if (state === this._state) return;
    this._state = state;
    members.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
    this._list.replaceChildren(...members.map((member) => this._row(member)));
  }

  _row(member) {
    const label = member.state === "invited" ? "Invited" : member.role === "owner" ? "Owner" : "";
    return h("li", { class: `member ${member.state}`, testid: "member", "data-user": member.id }, avatar(member),
      h("span", { class: "member-name" }, member.name, member.id === this._chat.me.id && h("small", {}, " you")),
      label && h("span", { class: "tag" }, label));
  }
}

function rank(member) {
  return member.state === "invited" ? 2 : member.role === "owner" ? 0 : 1;
}
