/** The left pane: the user's rooms with what is unread in them, invitations, and the user. */

import { avatar, glyphOf } from "../avatar.js";
import { h, icon, iconButton, logo } from "../dom.js";
import { plainText } from "../formatting.js";
import { presenceWord } from "../presence.js";

const CHOICES = ["automatic", "online", "away", "dnd", "invisible"];

export class Sidebar {
  /** `actions`: what its buttons do, such as `browse()`, `direct()` and `signOut()`, and the page's `notices`. */
  constructor(chat, actions) {
    this._chat = chat;
    this._actions = actions;
    this._rows = new Map();
    this._build();
  }

  render() {
    const { store, current, ready, notifications } = this._chat;
    const joined = store.joined();
    const rooms = joined.filter(({ kind }) => kind !== "direct");
    const direct = joined.filter(({ kind }) => kind === "direct");
    const invitations = store.invitations();
    const kept = new Set([...joined, ...invitations].map((room) => room.id));
    for (const id of this._rows.keys()) if (!kept.has(id)) this._rows.delete(id);
    fill(this._list, rooms.map((room) => this._roomRow(room, room.id === current)));
    fill(this._direct, direct.map((room) => this._roomRow(room, room.id === current)));
    fill(this._invitations, invitations.map((room) => this._invitationRow(room)));
    this._invitationSection.hidden = invitations.length === 0;
    this._empty.hidden = !ready || rooms.length > 0;
    this._noDirect.hidden = !ready || direct.length > 0;
    this._skeleton.hidden = ready;
    this._status.dataset.status = this._chat.status;
    this._status.dataset.choice = this._chat.presence.choice;
    this._status.title = { online: "Connected", stopped: "Offline" }[this._chat.status] ?? "Connecting";
    this._news.hidden = notifications.unread === 0;
    this._news.textContent = notifications.unread > 99 ? "99+" : String(notifications.unread);
    this._bell.setAttribute("aria-label", notifications.unread ? `Notifications, ${notifications.unread} unread` : "Notifications");
    this._threadDot.hidden = !joined.some(({ unreadThreads }) => unreadThreads);
  }

  _build() {
    const { browse, create, direct, search, threads, notifications } = this._actions;
    this._list = h("ul", { class: "room-list", testid: "room-list" });
    this._direct = h("ul", { class: "room-list", testid: "direct-list" });
    this._skeleton = h("div", { class: "room-skeleton", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
    this._empty = h("p", { class: "sidebar-empty", testid: "no-rooms", hidden: true }, "No rooms yet. Browse the public ones or create your own.");
    this._noDirect = h("p", { class: "sidebar-empty", hidden: true }, "Write to one person, or to a few.");
    this._invitations = h("ul", { class: "room-list", testid: "invitation-list" });
    this._invitationSection = h("section", { "aria-label": "Invitations", hidden: true },
      h("div", { class: "section-head" }, h("h2", {}, "Invitations")), this._invitations);
    this._status = h("span", { class: "status-dot", testid: "status-dot", "data-status": "connecting" });
    this._news = h("span", { class: "badge", testid: "notification-badge", "aria-hidden": "true", hidden: true });
    this._bell = h("button", { type: "button", class: "icon-button bell", testid: "show-notifications", title: "Notifications", "aria-label": "Notifications",
      onclick: () => notifications(this._bell) }, icon("bell"), this._news);
    this._threadDot = h("span", { class: "unread-dot", testid: "threads-dot", "aria-label": "unread replies", hidden: true });
    const link = (glyph, text, testid, run, more = null) => {
      const button = h("button", { type: "button", id: testid, testid, class: "side-link", onclick: () => run(button) }, icon(glyph), h("span", {}, text), more);
      return button;
    };
    const section = (title, list, ...rest) => h("section", { "aria-label": title }, h("div", { class: "section-head" }, h("h2", {}, title), rest.shift()), ...rest, list);
    this.element = h("aside", { class: "sidebar", testid: "sidebar", "aria-label": "Rooms" },
      h("header", { class: "sidebar-head" }, logo(), h("span", { class: "wordmark" }, "Parley"), this._bell),
      h("div", { class: "side-links" }, link("search", "Search messages", "open-search", search),
        link("thread", "Threads", "open-threads", threads, this._threadDot), link("compass", "Browse rooms", "browse-rooms", browse)),
      h("nav", { class: "sidebar-scroll", "aria-label": "Your rooms" },
        this._invitationSection,
        section("Rooms", this._list, iconButton("plus", "Create a room", { id: "create-room", testid: "create-room", onclick: create }), this._skeleton, this._empty),
        section("Direct messages", this._direct, iconButton("plus", "New direct message", { testid: "new-direct", onclick: direct }), this._noDirect)),
      this._buildUser());
  }

  _buildUser() {
    const { me } = this._chat;
    const shown = h("div", { class: "menu-choices", role: "group", "aria-label": "Shown as" }, CHOICES.map((choice) =>
      h("button", { type: "button", testid: `presence-${choice}`, "data-choice": choice, onclick: () => this._choose(choice, shown) },
        h("span", { class: "presence-dot", "data-state": choice === "automatic" ? "online" : choice }), presenceWord(choice))));
    const menu = h("div", { id: "user-menu-items", class: "menu", hidden: true }, shown,
      h("button", { type: "button", testid: "copy-user-id", onclick: () => this._copyId() }, icon("copy"),
        h("span", {}, "Copy my user ID", h("small", {}, "Others need it to invite you"))),
      h("button", { type: "button", testid: "open-scheduled", onclick: () => this._actions.scheduled() }, icon("clock"), "Messages to send later"),
      h("button", { type: "button", testid: "open-account", onclick: () => this._actions.account() }, icon("lock"), "My account"),
      h("button", { type: "button", id: "sign-out", testid: "sign-out", onclick: () => this._actions.signOut() }, icon("leave"), "Sign out"));
    const button = h("button", { type: "button", id: "user-menu", testid: "user-menu", class: "user-button", "aria-expanded": "false",
      "aria-controls": "user-menu-items", "aria-label": `${me.name}: account`, onclick: () => toggle(menu.hidden) },
      h("span", { class: "user-face" }, avatar(me), this._status), h("span", { class: "user-name", testid: "me" }, me.name), icon("more"));
    const footer = h("footer", { class: "sidebar-user" }, menu, button);
    const toggle = (open) => {
      menu.hidden = !open;
      this._markChoice(shown);
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

  async _choose(choice, shown) {
    await this._chat.attempt(() => this._chat.presence.choose(choice));
    this._markChoice(shown);
  }

  _markChoice(shown) {
    for (const button of shown.children) button.setAttribute("aria-pressed", String(button.dataset.choice === this._chat.presence.choice));
  }

  _roomRow(room, current) {
    const { store, presence, me } = this._chat;
    const title = store.titleOf(room);
    const other = room.kind === "direct" ? room.users.find((id) => id !== me.id) : null;
    const there = other && room.users.length === 2 ? presence.of(other) : "";
    const { preview } = room;
    const said = preview ? `${preview.actor?.id === me.id ? "You: " : room.kind !== "direct" ? `${preview.actor?.name ?? "Someone"}: ` : ""}${plainText(preview.text) || "A file"}` : room.topic;
    const unread = current && !document.hidden ? 0 : room.unread;
    const quiet = room.level === "none";
    const state = JSON.stringify([title, room.kind, room.archived, current, unread, unread && room.mentions, there, said, quiet]);
    const known = this._rows.get(room.id);
    if (known?.state === state) return known.row;
    const face = room.kind === "direct"
      ? h("span", { class: "face" }, avatar({ id: other ?? me.id, name: title }, "medium"), there && h("span", { class: "presence-dot", testid: "row-presence", "data-state": there, title: presenceWord(there) }))
      : h("span", { class: "row-glyph" }, icon(glyphOf(room)));
    const link = h("a", { class: `room-row ${unread ? "unread" : ""} ${quiet ? "quiet" : ""}`, href: `#/${encodeURIComponent(room.id)}`,
      testid: "room-row", "data-room": room.id, "aria-current": current ? "page" : null },
      face, h("span", { class: "row-text" }, h("span", { class: "room-name" }, title), said && h("small", { class: "room-said", testid: "room-said" }, said)),
      room.archived && h("span", { class: "tag" }, "closed"),
      unread > 0 && room.mentions > 0 && h("span", { class: "badge mentions", testid: "mention-badge", "aria-label": `${room.mentions} mentions` }, `@${room.mentions > 99 ? "99+" : room.mentions}`),
      unread > 0 && h("span", { class: "badge", testid: "unread-badge", "aria-label": `${unread} unread` }, unread > 99 ? "99+" : String(unread)));
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
        await this._chat.rooms.join({ ...room, members: room.memberCount });
      } catch (error) {
        join.disabled = false;
        this._actions.notices.show(error.message, { bad: true });
      }
    } }, "Join");
    const decline = iconButton("close", `Decline ${room.name}`, { testid: "decline-invitation", onclick: () => this._chat.attempt(() => this._chat.rooms.leave(room.id)) });
    const row = h("li", {}, h("div", { class: "room-row invitation", "data-room": room.id }, icon(glyphOf(room)),
      h("span", { class: "room-name" }, room.name), join, decline));
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
