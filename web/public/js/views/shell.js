/** The signed-in page: the sidebar, the open room, and what floats above them. Renders once a frame at most. */

import { h, icon } from "../dom.js";
import { hasMailed } from "../mailed_link.js";
import { AccountDialog } from "./account_dialog.js";
import { BrowseDialog } from "./browse_dialog.js";
import { confirmDialog } from "./confirm_dialog.js";
import { CreateDialog } from "./create_dialog.js";
import { Notices } from "./notices.js";
import { DirectDialog } from "./direct_dialog.js";
import { ThreadsPanel } from "./listing_panels.js";
import { NotificationsPanel } from "./notifications_panel.js";
import { RoomView } from "./room_view.js";
import { ScheduleDialog } from "./schedule_dialog.js";
import { SearchPanel } from "./search_panel.js";
import { SidePanel } from "./side_panel.js";
import { Sidebar } from "./sidebar.js";
import { ThreadPanel } from "./thread_panel.js";

const BAR_DELAY_MS = 600;
/** What is about the open room. */
const ROOM_PANELS = new Set(["members", "pins", "place", "thread"]);

export class Shell {
  /** `account` is asked about the user's own account; `signOut` ends the session. */
  constructor(chat, account, signOut) {
    this._chat = chat;
    this._account = account;
    this._signOut = signOut;
    this._scheduled = false;
    this._started = false;
    this._closing = new AbortController();
    this._build();
    this._listen();
    this._render();
  }

  /** Where short notices are shown. */
  get notices() {
    return this._notices;
  }

  /** Lets go of what outlives the element. */
  close() {
    this._closing.abort();
  }

  /** An administrator ended the connection: say so, and leave it to the user to come back. */
  async showKicked(reason) {
    const back = await confirmDialog({
      id: "kicked",
      title: "You were disconnected",
      text: reason ? `An administrator ended your connection: ${reason}` : "An administrator ended your connection.",
      confirm: "Connect again",
      cancel: "Stay offline",
    });
    if (back && !this._closing.signal.aborted) this._chat.reconnect();
  }

  _build() {
    const chat = this._chat;
    this._notices = new Notices();
    const browse = () => new BrowseDialog(chat).show();
    const create = () => new CreateDialog(chat).show();
    this._side = new SidePanel(() => this._schedule());
    const page = {
      notices: this._notices,
      side: this._side,
      go: (room) => this._go(room),
      jump: (sequence, room) => this._jump(sequence, room),
      openThread: (root) => this._openThread(root),
    };
    this._room = new RoomView(chat, page);
    this._thread = new ThreadPanel(chat, page);
    const panels = { search: new SearchPanel(chat, page), threads: new ThreadsPanel(chat, page), notifications: new NotificationsPanel(chat, page) };
    const toggle = (name) => (opener) => this._side.toggle(panels[name], opener);
    this._sidebar = new Sidebar(chat, {
      browse, create, notices: this._notices, signOut: this._signOut,
      search: toggle("search"), threads: toggle("threads"), notifications: toggle("notifications"),
      direct: () => new DirectDialog(chat).show(),
      account: () => new AccountDialog(this._account).show(),
      scheduled: () => new ScheduleDialog(chat, null, this._notices).show(),
    });
    this._barText = h("span");
    this._barButton = h("button", { type: "button", class: "link", testid: "reconnect", onclick: () => chat.reconnect() });
    this._bar = h("div", { id: "connection-bar", testid: "connection-bar", class: "connection-bar", role: "status", hidden: true },
      h("span", { class: "spinner", "aria-hidden": "true" }), this._barText, this._barButton);
    this._welcome = this._buildWelcome(browse, create);
    this._main = h("main", { class: "main", id: "main" }, this._bar, h("div", { class: "main-row" }, this._room.element, this._welcome));
    this.element = h("div", { class: "shell", testid: "app", "data-pane": "list" },
      this._sidebar.element, this._main, this._side.element, this._notices.element);
  }

  _buildWelcome(browse, create) {
    return h("section", { class: "welcome", testid: "welcome", hidden: true },
      h("div", { class: "welcome-art", "aria-hidden": "true" }, icon("chat")),
      h("h2", {}, `Hello, ${this._chat.me.name}`),
      h("p", {}, "Rooms are where conversations live. Open one, find one that is there already, or start your own."),
      h("div", { class: "welcome-actions" },
        h("button", { type: "button", class: "button primary", testid: "welcome-create", onclick: create }, icon("plus"), "Create a room"),
        h("button", { type: "button", class: "button", testid: "welcome-browse", onclick: browse }, icon("compass"), "Browse rooms")));
  }

  _listen() {
    const chat = this._chat;
    const { signal } = this._closing;
    chat.addEventListener("changed", () => this._schedule(), { signal });
    chat.addEventListener("notice", ({ detail }) => this._notices.show(detail.text, detail), { signal });
    chat.addEventListener("message", ({ detail }) => this._announce(detail), { signal });
    addEventListener("hashchange", () => this._follow(), { signal });
    // A file that is dropped beside the room would be opened in place of the page.
    for (const type of ["dragover", "drop"]) {
      addEventListener(type, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault(), { signal });
    }
    addEventListener("online", () => chat.reconnect(), { signal });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && chat.status === "reconnecting") chat.reconnect();
      this._schedule();
    }, { signal });
  }

  _announce(event) {
    if (event.room === this._chat.current) this._notices.announce(`${event.actor.name}: ${event.data.body || "a file"}`);
  }

  /** The open room is in the address, so that reload, back and a bookmark do what they should. */
  _follow() {
    this._address = location.hash;
    const id = roomIn(this._address);
    if (id !== (this._chat.current ?? "")) this._chat.open(id || null);
  }

  _go(roomId) {
    location.hash = roomId ? `/${encodeURIComponent(roomId)}` : "/";
    this._chat.open(roomId);
  }

  /** Goes to a message, in another room if need be. On a narrow page the side pane would hide it. */
  async _jump(sequence, room) {
    if (room && room !== this._chat.current) {
      if (!this._chat.store.rooms.get(room)?.joined) return this._notices.show("Join that room to see the message.", { bad: true });
      this._go(room);
    }
    if (matchMedia("(max-width: 1050px)").matches) this._side.close();
    return this._room.jump(sequence);
  }

  _openThread(root) {
    if (this._side.shown === this._thread && this._chat.thread?.root === root) return this._thread.focus();
    if (this._side.shown === this._thread) this._side.close();
    this._chat.openThread(root);
    return this._side.show(this._thread);
  }

  _schedule() {
    if (this._scheduled) return;
    this._scheduled = true;
    const render = () => {
      this._scheduled = false;
      if (!this._closing.signal.aborted) this._render();
    };
    // Frames stand still in a hidden tab, whose title still counts what is unread.
    if (document.hidden) setTimeout(render, 250);
    else requestAnimationFrame(render);
  }

  _render() {
    const chat = this._chat;
    if (chat.ready && !this._started) {
      this._started = true;
      this._follow();
      // Beside the list there is place for a room; on a phone the list comes first.
      if (!chat.current && matchMedia("(min-width: 760px)").matches) chat.open(chat.store.joined()[0]?.id ?? null);
    }
    if (this._started && !hasMailed()) this._renderAddress();
    this.element.dataset.pane = chat.current ? "room" : "list";
    this._sidebar.render();
    this._room.render();
    if (this._side.shown === this._thread && !chat.thread) this._side.close();
    if (!chat.current && ROOM_PANELS.has(this._side.shown?.id)) this._side.close();
    this._side.render();
    this.element.dataset.side = this._side.shown ? "open" : "shut";
    this._welcome.hidden = Boolean(chat.current);
    this._renderBar();
    this._renderTitle();
  }

  _renderAddress() {
    // The user has just followed a link, and the browser has not told yet: it counts, and is not written over.
    if (location.hash !== this._address) this._follow();
    const { current } = this._chat;
    const wanted = current ? `#/${encodeURIComponent(current)}` : "#/";
    if (location.hash !== wanted && (current || location.hash.length > 2)) this._address = location.hash = wanted;
  }

  _renderBar() {
    const { status } = this._chat;
    clearTimeout(this._barTimer);
    if (status === "online") {
      this._bar.hidden = true;
      return;
    }
    this._bar.dataset.status = status;
    this._barText.textContent = { connecting: "Connecting…", reconnecting: "Reconnecting…", stopped: "You are offline." }[status];
    this._barButton.textContent = status === "stopped" ? "Connect again" : "Try now";
    this._barButton.hidden = status === "connecting";
    // A connection that is back within a blink is not worth a bar.
    if (status === "stopped") this._bar.hidden = false;
    else this._barTimer = setTimeout(() => (this._bar.hidden = this._chat.status === "online"), BAR_DELAY_MS);
  }

  _renderTitle() {
    const { store, room } = this._chat;
    const unread = store.joined().reduce((sum, { id }) => sum + store.unread(id), 0);
    document.title = `${unread ? `(${unread}) ` : ""}${room ? `${store.titleOf(room)} · ` : ""}Parley`;
  }
}

/** The id of the room in an address; "" for what is none. */
function roomIn(hash) {
  try {
    return decodeURIComponent(hash.replace(/^#\/?/u, ""));
  } catch {
    return "";
  }
}
