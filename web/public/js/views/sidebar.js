/** The left pane: the user's rooms with what is unread in them, invitations, and the user. */

import { avatar } from "../avatar.js";
import { h, icon, iconButton, logo } from "../dom.js";

export class Sidebar {
  /** `actions`: `browse()`, `create()`, `account()`, `signOut()` and the page's `notices`. */
  constructor(chat, actions) {
    this._chat = chat;
    this._actions = actions;
    this._rows = new Map();
    this._build();
  }

  render() {
    const { store, current, ready } = this._chat;
    const rooms = store.joined();
    const invitations = store.invitations();
    const kept = new Set([...rooms, ...invitations].map((room) => room.id));
    for (const id of this._rows.keys()) if (!kept.has(id)) this._rows.delete(id);
    fill(this._list, rooms.map((room) => this._roomRow(room, room.id === current, store.unread(room.id))));
    fill(this._invitations, invitations.map((room) => this._invitationRow(room)));
    this._invitationSection.hidden = invitations.length === 0;
    this._empty.hidden = !ready || rooms.length > 0;
    this._skeleton.hidden = ready;
    this._status.dataset.status = this._chat.status;
    this._status.title = { online: "Connected", stopped: "Offline" }[this._chat.status] ?? "Connecting";
  }

  _build() {
    const { browse, create } = this._actions;
    this._list = h("ul", { class: "room-list", testid: "room-list" });
    this._skeleton = h("div", { class: "room-skeleton", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
    this._empty = h("p", { class: "sidebar-empty", testid: "no-rooms", hidden: true }, "No rooms yet. Browse the public ones or create your own.");
    this._invitations = h("ul", { class: "room-list", testid: "invitation-list" });
    this._invitationSection = h("section", { "aria-label": "Invitations", hidden: true },
      h("div", { class: "section-head" }, h("h2", {}, "Invitations")), this._invitations);
    this._status = h("span", { class: "status-dot", testid: "status-dot", "data-status": "connecting" });
    this.element = h("aside", { class: "sidebar", testid: "sidebar", "aria-label": "Rooms" },
      h("header", { class: "sidebar-head" }, logo(), h("span", { class: "wordmark" }, "Parley")),
      h("button", { type: "button", id: "browse-rooms", testid: "browse-rooms", class: "browse-button", onclick: browse },
        icon("search"), h("span", {}, "Browse rooms")),
      h("nav", { class: "sidebar-scroll", "aria-label": "Your rooms" },
        this._invitationSection,
        h("section", {},
          h("div", { class: "section-head" }, h("h2", {}, "Rooms"),
            iconButton("plus", "Create a room", { id: "create-room", testid: "create-room", onclick: create })),
          this._skeleton, this._list, this._empty)),
      this._buildUser());
  }

  _buildUser() {
    const { me } = this._chat;
    const menu = h("div", { id: "user-menu-items", class: "menu", hidden: true },
      h("button", { type: "button", testid: "copy-user-id", onclick: () => this._copyId() }, icon("copy"),
        h("span", {}, "Copy my user ID", h("small", {}, "Others need it to invite you"))),
      h("button", { type: "button", testid: "open-account", onclick: () => this._actions.account() }, icon("lock"), "My account"),
      h("button", { type: "button", id: "sign-out", testid: "sign-out", onclick: () => this._actions.signOut() }, icon("leave"), "Sign out"));
    const button = h("button", { type: "button", id: "user-menu", testid: "user-menu", class: "user-button", "aria-expanded": "false",
      "aria-controls": "user-menu-items", "aria-label": `${me.name}: account`, onclick: () => toggle(menu.hidden) },
      h("span", { class: "user-face" }, avatar(me), this._status), h("span", { class: "user-name", testid: "me" }, me.name), icon("more"));
    const footer = h("footer", { class: "sidebar-user" }, menu, button);
    const toggle = (open) => {
      menu.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
      if (open) document.addEventListener("pointerdown", outside);
      else document.removeEventListener("pointerdown", outside);
    };
    const outside = (event) => footer.contains(event.target) || toggle(false);
    footer.addEventListener("focusout", (event) => !event.relatedTarget || footer.contains(event.relatedTarget) || toggle(false));
    footer.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      toggle(false);
      button.focus();
    });
    return footer;
  }

  async _copyId() {
    const { notices } = this._actions;
    try {
      await navigator.clipboard.writeText(this._chat.me.id);
      notices.show("Your user ID is on the clipboard.");
    } catch {
      notices.show(`Your user ID: ${this._chat.me.id}`);
    }
  }

  _roomRow(room, current, unread) {
    const state = JSON.stringify([room.name, room.kind, room.archived, current, current ? 0 : unread]);
    const known = this._rows.get(room.id);
    if (known?.state === state) return known.row;
    const shown = !current && unread > 0;
    const link = h("a", { class: `room-row ${shown ? "unread" : ""}`, href: `#/${encodeURIComponent(room.id)}`,
      testid: "room-row", "data-room": room.id, "aria-current": current ? "page" : null },
      icon(room.kind === "private" ? "lock" : "hash"),
      h("span", { class: "room-name" }, room.name),
      room.archived && h("span", { class: "tag" }, "closed"),
      shown && h("span", { class: "badge", testid: "unread-badge", "aria-label": `${unread} unread` }, unread > 99 ? "99+" : String(unread)));
    const focused = known?.row.contains(document.activeElement);
    const row = h("li", {}, link);
    this._rows.set(room.id, { state, row });
    if (focused) queueMicrotask(() => link.focus({ preventScroll: true }));
    return row;
  }

  _invitationRow(room) {
    const known = this._rows.get(room.id);
    if (known?.state === "invited") return known.row;
    const join = h("button", { type: "button", class: "button small primary", testid: "accept-invitation", onclick: async () => {
      join.disabled = true;
      try {
        await this._chat.joinRoom({ ...room, members: room.memberCount });
      } catch (error) {
        join.disabled = false;
        this._actions.notices.show(error.message, { bad: true });
      }
    } }, "Join");
    const row = h("li", {}, h("div", { class: "room-row invitation", "data-room": room.id }, icon("lock"),
      h("span", { class: "room-name" }, room.name), join));
    this._rows.set(room.id, { state: "invited", row });
    return row;
  }
}

/** Makes rows the children of a list, touching only what differs, so that focus and scroll stay. */
function fill(list, rows) {
  rows.forEach((row, index) => {
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
  });
  while (list.childElementCount > rows.length) list.lastChild.remove();
}
