/**
 * The scrolling list of the open room's messages. It keeps the reader's place: at the end it follows what comes, anywhere
 * else it stays where it is, whatever is added above or below.
 */

import { glyphOf } from "../avatar.js";
import { h, icon } from "../dom.js";
import { buildTimeline } from "../timeline.js";
import { renderRows } from "./rows.js";

const NEAR_END_PX = 60;
const NEAR_START_PX = 600;
const BEGINNINGS = {
  private: "This is where it begins. Only the people invited can see it.",
  direct: "This is where it begins. It is between you and nobody else.",
  public: "This is where it begins. Anyone here can find and join this room.",
};

export class MessageList {
  /** `actions` is what can be done with messages. */
  constructor(chat, actions) {
    this._chat = chat;
    this._actions = actions;
    this._nodes = new Map();
    this._roomId = null;
    this._following = true;
    this._seen = 0;
    this._build();
  }

  /** Goes to the end and follows from there. */
  stick() {
    this._following = true;
    this._scroller.scrollTop = this._scroller.scrollHeight;
    this._afterScroll();
  }

  render() {
    const { room } = this._chat;
    if (room?.id !== this._roomId) this._change(room);
    if (!room) return;
    if (this._unseen === undefined && room.last !== null) {
      const to = Math.max(room.last, room.head);
      this._unseen = to > room.read ? { from: room.read + 1, to } : null;
    }
    const place = this._place();
    const rows = buildTimeline(room, this._chat.me, this._unseen ?? null);
    this._noteSeen(rows, room);
    this._renderRows(rows);
    this._renderStart(room);
    this._return(place, room);
    if (this._following && room.events.length) {
      this._chat.store.trim(room.id);
    }
    this._afterScroll();
  }

  _build() {
    this._start = h("div", { class: "list-start" });
    this._rows = h("ol", { class: "messages", testid: "messages" });
    this._scroller = h("div", { id: "message-list", testid: "message-list", class: "message-scroll", role: "log", "aria-live": "off",
      "aria-label": "Messages", tabindex: "0" }, h("div", { class: "message-column" }, this._start, this._rows));
    this._scroller.addEventListener("scroll", () => this._scrolled(), { passive: true });
    this._pillText = h("span", { testid: "new-messages-text" });
    this._pill = h("button", { type: "button", id: "new-messages", testid: "new-messages", class: "pill", hidden: true,
      onclick: () => this.stick() }, icon("down"), this._pillText);
    this.element = h("div", { class: "message-area" }, this._scroller, this._pill);
    new ResizeObserver(() => {
      this._height = this._scroller.clientHeight;
      if (this._following) this.stick();
    }).observe(this._scroller);
  }

  _change(room) {
    this._roomId = room?.id ?? null;
    this._unseen = undefined;
    this._following = true;
    this._toUnread = true;
    this._tried = -1;
    this._nodes.clear();
    this._rows.replaceChildren();
    this._start.replaceChildren();
    this._startState = "";
    this._seen = room?.last ?? 0;
  }

  _renderRows(rows) {
    const fresh = this._nodes.size > 0;
    const entered = (row) => fresh && this._following && (row.state === "pending" || (row.kind === "message" && !row.mine));
    this._nodes = renderRows(this._rows, this._nodes, rows, this._actions, entered);
  }

  /** Under the newest own message stands who has read it. */
  _noteSeen(rows, room) {
    const latest = rows.findLast(({ kind, mine, state }) => kind === "message" && mine && state === "sent");
    if (!latest || !room.receipts) return;
    const readers = [...room.receipts].filter(([user, sequence]) => user !== this._chat.me.id && sequence >= latest.sequence);
    if (readers.length > 0) latest.seen = readers.map(([user]) => this._chat.store.nameOf(user)).sort();
  }

  /** Brings a message into sight and points it out. */
  flash(sequence) {
    const row = [...this._nodes.values()].find(({ node }) => node.dataset.sequence === String(sequence))?.node;
    if (!row) return;
    this._following = false;
    row.scrollIntoView({ block: "center" });
    row.classList.remove("flash");
    void row.offsetWidth; // begins the animation anew
    row.classList.add("flash");
  }

  _renderStart(room) {
    const loading = this._chat.isLoading(room.id);
    const state = loading ? "loading" : room.more || room.last === null ? "more" : `start ${this._chat.store.titleOf(room)}`;
    if (state === this._startState) return;
    this._startState = state;
    if (loading) this._start.replaceChildren(h("div", { class: "loading", testid: "loading-history", role: "status" },
      h("span", { class: "spinner" }), h("span", { class: "visually-hidden" }, "Loading messages")));
    else if (state === "more") this._start.replaceChildren();
    else this._start.replaceChildren(h("div", { class: "beginning", testid: "room-beginning" },
      h("span", { class: "beginning-glyph" }, icon(glyphOf(room))),
      h("h2", {}, this._chat.store.titleOf(room)),
      h("p", {}, BEGINNINGS[room.kind])));
  }

  /** The first row in sight and where it is: what must not move while the reader is not at the end. */
  _place() {
    if (this._following) return null;
    const top = this._scroller.getBoundingClientRect().top;
    for (const [key, { node }] of this._nodes) {
      const box = node.getBoundingClientRect();
      if (box.bottom > top) return { key, offset: box.top - top };
    }
    return null;
  }

  _return(place, room) {
    const line = this._toUnread && room.events.length > 0 ? this._nodes.get("unread") : null;
    if (room.events.length > 0) this._toUnread = false;
    if (line) {
      this._scroller.scrollTop = line.node.offsetTop - 80;
      this._following = this._atEnd();
    } else if (this._following) {
      this._scroller.scrollTop = this._scroller.scrollHeight;
    } else if (place && this._nodes.has(place.key)) {
      const top = this._scroller.getBoundingClientRect().top;
      this._scroller.scrollTop += this._nodes.get(place.key).node.getBoundingClientRect().top - top - place.offset;
    }
  }

  _scrolled() {
    // It scrolled because its height changed, as when the composer grows: no reader did.
    if (this._scroller.clientHeight !== this._height) return;
    this._following = this._atEnd();
    this._tried = -1;
    this._afterScroll();
  }

  _afterScroll() {
    const { room } = this._chat;
    if (!room) return;
    if (this._following) this._seen = room.last ?? 0;
    if (this._following && !document.hidden) this._chat.markRead();
    const news = this._following ? 0 : room.events.filter((event) => event.sequence > this._seen && event.type === "message.sent").length;
    this._pill.hidden = this._following;
    this._pillText.textContent = news ? `${news} new ${news === 1 ? "message" : "messages"}` : "Jump to latest";
    this._pill.classList.toggle("news", news > 0);
    this._loadOlder(room);
  }

  /** Tries once for each oldest event, so that a failing server is asked again only when the reader scrolls. */
  _loadOlder(room) {
    const oldest = room.events[0]?.sequence ?? 0;
    if (!oldest || !room.more || this._scroller.scrollTop > NEAR_START_PX || this._tried === oldest || this._chat.isLoading(room.id)) return;
    this._tried = oldest;
    this._chat.loadOlder(room.id);
  }

  _atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this._scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }
}
