/** What is pinned in the open room, the threads that this user follows, and the place of a message long ago. */

import { timeOfDay } from "../clock.js";
import { h } from "../dom.js";
import { buildTimeline } from "../timeline.js";
import { foundRow } from "./found_list.js";
import { MessageActions } from "./message_actions.js";
import { renderRows } from "./rows.js";

class ListingPanel {
  constructor(chat, page, id, title) {
    Object.assign(this, { _chat: chat, _page: page, id, title });
    this._told = h("p", { class: "panel-told", role: "status", testid: `${id}-told` }, "Loading…");
    this._list = h("ul", { class: "found-list", testid: `${id}-list` });
    this.element = h("div", { class: "panel-fill" }, h("div", { class: "panel-scroll" }, this._told, this._list));
  }

  async _load(ask, rows, empty) {
    try {
      const answer = await ask();
      this._list.replaceChildren(...rows(answer));
      this._told.textContent = this._list.childElementCount ? "" : empty;
    } catch (error) {
      this._told.textContent = error.message;
    }
  }
}

export class PinsPanel extends ListingPanel {
  constructor(chat, page) {
    super(chat, page, "pins", "Pinned messages");
  }

  render() {
    const { room } = this._chat;
    if (!room) return;
    // A pin that comes, goes, or whose message changes is an event of the room.
    const state = `${room.id} ${room.events.filter(({ type, data }) => data?.pinned || type.endsWith("pinned")).map(({ sequence, data }) => `${sequence} ${data.version}`).join()}`;
    if (state === this._state) return;
    this._state = state;
    const ask = () => this._chat.command("pins", { room: room.id }, { id: false });
    this._load(ask, ({ events }) => events.map((event) => foundRow(this._chat, event, { testid: "pinned", inRoom: false, go: () => this._page.jump(event.sequence) })),
      "Nothing is pinned. Moderators pin what everybody should find.");
  }
}

export class ThreadsPanel extends ListingPanel {
  constructor(chat, page) {
    super(chat, page, "threads", "Threads");
  }

  render() {
    const state = this._chat.store.joined().map(({ id, unreadThreads, preview }) => `${id}${unreadThreads}${preview?.sequence}`).join();
    if (state === this._state) return;
    this._state = state;
    const ask = () => this._chat.command("threads", { limit: 50 }, { id: false });
    this._load(ask, ({ threads }) => threads.map((one) => this._row(one)), "You follow no threads yet. Answer in one, or start one at any message.");
  }

  _row({ room, root, thread, replies, unread, last_at: last }) {
    const go = async () => {
      await this._page.go(room);
      this._page.openThread(thread);
    };
    const more = h("span", { class: "found-more" }, `${replies} ${replies === 1 ? "reply" : "replies"}${last ? `, last ${timeOfDay(last)}` : ""}`,
      unread > 0 && h("span", { class: "badge", testid: "thread-unread", "aria-label": `${unread} unread` }, String(unread)));
    return foundRow(this._chat, { ...root, room }, { testid: "followed-thread", more, go });
  }
}

/** Messages around one that is too far back to scroll to. */
export class PlacePanel {
  constructor(chat, page, composer, room, sequence) {
    Object.assign(this, { _chat: chat, _room: room, _sequence: sequence, id: "place", title: "In the conversation" });
    this._actions = new MessageActions(chat, composer, page, { threads: false });
    this._told = h("p", { class: "panel-told", role: "status" }, "Loading…");
    this._rows = h("ol", { class: "messages", testid: "place-messages" });
    this.element = h("div", { class: "panel-fill" }, h("div", { class: "panel-scroll thread-scroll" }, this._told, this._rows));
    this._load();
  }

  render() {}

  async _load() {
    try {
      const { events } = await this._chat.around(this._room, this._sequence);
      const nodes = renderRows(this._rows, new Map(), buildTimeline({ events, pending: [] }, this._chat.me), this._actions);
      this._told.textContent = "";
      const row = [...nodes.values()].find(({ node }) => node.dataset.sequence === String(this._sequence))?.node;
      row?.classList.add("flash");
      row?.scrollIntoView({ block: "center" });
    } catch (error) {
      this._told.textContent = error.message;
    }
  }
}
