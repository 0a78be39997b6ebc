/** The middle pane: the open room's header, messages and composer. */

import { avatar, glyphOf } from "../avatar.js";
import { h, icon, iconButton } from "../dom.js";
import { presenceWord } from "../presence.js";
import { Composer } from "./composer.js";
import { confirmDialog } from "./confirm_dialog.js";
import { InviteDialog } from "./invite_dialog.js";
import { MembersPanel } from "./members_panel.js";
import { MessageActions } from "./message_actions.js";
import { MessageList } from "./message_list.js";
import { PinsPanel, PlacePanel } from "./listing_panels.js";
import { showMenu } from "./popup.js";
import { ReportsDialog } from "./reports_dialog.js";
import { RoomSettings } from "./room_settings.js";

const LEVELS = { all: "Everything that concerns me", mentions: "Mentions and answers", none: "Nothing" };

export class RoomView {
  /** `page` has `go(room)`, `jump(message, room)`, `openThread(root)`, the side pane `side`, and `notices`. */
  constructor(chat, page) {
    this._chat = chat;
    this._page = page;
    this._composer = new Composer(chat, () => this._messages.stick(), page.notices);
    this._messages = new MessageList(chat, new MessageActions(chat, this._composer, page));
    this._members = new MembersPanel(chat, { invite: () => this._invite(), notices: page.notices });
    this._pins = new PinsPanel(chat, page);
    this._build();
  }

  render() {
    const { room } = this._chat;
    this.element.hidden = !room;
    if (!room) {
      this._messages.render();
      return;
    }
    this._head(room);
    this._messages.render();
    this._composer.render();
  }

  /** Goes to a message of the open room; one that is too far back is shown beside. */
  async jump(sequence) {
    const room = this._chat.current;
    if (await this._chat.reach(sequence)) {
      this._messages.render();
      this._messages.flash(sequence);
    } else if (this._chat.current === room) {
      this._page.side.show(new PlacePanel(this._chat, this._page, this._composer, room, sequence));
    }
  }

  _head(room) {
    const title = this._chat.store.titleOf(room);
    const other = room.kind === "direct" && room.users.find((id) => id !== this._chat.me.id);
    const pair = other && room.users.length === 2;
    const state = pair ? this._chat.presence.of(other) : "";
    const look = JSON.stringify([room.id, room.kind, title, state]);
    if (this._look !== look) {
      this._look = look;
      const dot = pair && h("span", { class: "presence-dot", "data-state": state, title: presenceWord(state) });
      const face = room.kind === "direct" ? h("span", { class: "face" }, avatar({ id: other || this._chat.me.id, name: title }), dot) : h("span", { class: "room-glyph" }, icon(glyphOf(room)));
      this._glyph.replaceChildren(face);
    }
    this._name.textContent = title;
    this._kind.textContent = room.topic || (pair ? presenceWord(state) : { private: "Private room", public: "Public room", direct: "Direct message" }[room.kind]);
    this._kind.title = room.topic;
    this._count.textContent = String(room.memberCount);
    this._membersButton.setAttribute("aria-label", `${room.memberCount} ${room.memberCount === 1 ? "member" : "members"}`);
    for (const [button, id] of [[this._membersButton, "members"], [this._pinsButton, "pins"]]) button.setAttribute("aria-expanded", String(this._page.side.shown?.id === id));
  }

  _build() {
    const { side } = this._page;
    this._glyph = h("span", { class: "room-face" });
    this._name = h("h1", { id: "room-name", testid: "room-name" });
    this._kind = h("p", { class: "room-kind", testid: "room-kind" });
    this._count = h("span", { testid: "member-count" });
    this._membersButton = h("button", { type: "button", id: "show-members", testid: "show-members", class: "button ghost count",
      title: "Members", "aria-expanded": "false", "aria-controls": "side-panel", onclick: () => this._showMembers() }, icon("users"), this._count);
    this._pinsButton = iconButton("pin", "Pinned messages", { testid: "show-pins", "aria-controls": "side-panel", onclick: () => side.toggle(this._pins, this._pinsButton) });
    this._menu = iconButton("more", "Room", { id: "room-menu", testid: "room-menu", "aria-haspopup": "menu", onclick: () => this._showMenu() });
    const header = h("header", { class: "room-head" },
      iconButton("back", "All rooms", { id: "back", testid: "back", class: "icon-button back", onclick: () => this._page.go(null) }),
      this._glyph, h("div", { class: "room-title" }, this._name, this._kind),
      h("div", { class: "room-actions" }, this._membersButton, this._pinsButton, this._menu));
    this._drop = h("div", { class: "drop-hint", "aria-hidden": "true" }, icon("attach"), "Drop files to attach them");
    this.element = h("section", { class: "room", testid: "room", "aria-labelledby": "room-name", hidden: true,
      ondragover: (event) => this._dragged(event, true), ondragleave: (event) => this._dragged(event, false), ondrop: (event) => this._dropped(event) },
    h("div", { class: "room-column" }, header, this._messages.element, this._composer.element, this._drop));
  }

  _dragged(event, over) {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    this.element.classList.toggle("dropping", over);
  }

  _dropped(event) {
    if (event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    this.element.classList.remove("dropping");
    this._composer.take([...event.dataTransfer.files]);
  }

  _showMembers() {
    this._page.side.toggle(this._members, this._membersButton);
    this._chat.rooms.loadMembers();
  }

  _showMenu() {
    const { room } = this._chat;
    const direct = room.kind === "direct";
    const moderates = this._chat.rooms.moderates(room);
    showMenu(this._menu, [
      !direct && !room.archived && { icon: "invite", text: "Invite someone", testid: "invite", run: () => this._invite() },
      { icon: "bell", text: "Notify me of…", hint: LEVELS[room.level], testid: "room-level", run: () => this._chooseLevel() },
      !direct && moderates && { icon: "settings", text: "Room settings", testid: "room-settings", run: () => new RoomSettings(this._chat, this._page.notices).show() },
      !direct && moderates && { icon: "flag", text: "Reported messages", testid: "room-reports", run: () => new ReportsDialog(this._chat, this._page).show() },
      null,
      { icon: "leave", text: direct ? "Leave this conversation" : "Leave the room", danger: true, testid: "leave-room", run: () => this._leave() },
    ].filter((item) => item !== false), { label: "Room", testid: "room-menu-items" });
  }

  _chooseLevel() {
    const { room } = this._chat;
    const choose = (level) => this._chat.attempt(async () => {
      await this._chat.command("notification.level", { room: room.id, level }, { id: false });
      room.level = level;
    });
    showMenu(this._menu, Object.entries(LEVELS).map(([level, text]) =>
      ({ icon: "bell", text, chosen: room.level === level, testid: `level-${level}`, run: () => choose(level) })), { label: "Notify me of" });
  }

  _invite() {
    new InviteDialog(this._chat, this._page.notices).show();
  }

  async _leave() {
    const { room } = this._chat;
    const text = room.kind === "direct" ? "It comes back with the next message."
      : room.kind === "private" ? "You will need a new invitation to come back. The conversation stays for the others."
        : "You can join again at any time. The conversation stays for the others.";
    const title = `Leave ${this._chat.store.titleOf(room)}?`;
    const sure = await confirmDialog({ id: "leave", title, text, confirm: room.kind === "direct" ? "Leave" : "Leave room", danger: true });
    if (sure) await this._chat.attempt(() => this._chat.rooms.leave(room.id));
  }
}
