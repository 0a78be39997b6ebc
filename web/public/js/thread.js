/** The open thread: its first message and the replies to it, which come as any message of the room does. */

import { amend, prepared } from "./amendments.js";

const PAGE = 100;

export class Thread {
  /** `root` is the sequence of the first message. `query(range)` asks for history; `changed` is called when there is more to show. */
  constructor(roomId, root, me, { query, changed }) {
    Object.assign(this, { roomId, root, me, events: [], more: false, loading: false, error: "" });
    this._query = query;
    this._changed = changed;
    this._before = undefined;
    this._came = [];
  }

  /** Loads the newest replies anew: at first, and after each connect. What comes meanwhile is applied to them. */
  async load() {
    this.loading = true;
    this._came = [];
    this._changed();
    try {
      const range = { room: this.roomId, limit: PAGE };
      const [around, replies] = await Promise.all([
        this._query({ ...range, around: this.root, limit: 3 }),
        this._query({ ...range, thread: this.root }),
      ]);
      const first = around.events.filter(({ sequence }) => sequence === this.root).map((event) => ({ ...event, as_of: around.head }));
      const rest = replies.events.filter(({ type }) => type === "message.sent").map((event) => ({ ...event, as_of: replies.head }));
      this.events = [...first, ...rest];
      this._take(replies);
      this.error = first.length ? "" : "This thread is gone.";
      for (const event of this._came) this._apply(event, replies.head);
    } catch (error) {
      this.error = error.message;
    }
    this.loading = false;
    this._changed();
  }

  /** Loads the page of replies before the oldest. Raises `RequestError`. */
  async loadOlder() {
    const page = await this._query({ room: this.roomId, thread: this.root, before: this._before, limit: PAGE });
    const [first, ...rest] = this.events;
    let older = page.events.map((event) => ({ ...event, as_of: page.head }));
    for (const event of this._came) older = amend(older, event, this.me);
    this.events = [first, ...older, ...rest];
    this._take(page);
    this._changed();
  }

  /** An event of the thread's room has come. */
  apply(event) {
    if (event.room !== this.roomId) return;
    this._came.push(event);
    if (!this.loading) this._apply(event, 0);
  }

  /** The sequence of the newest message here. */
  get last() {
    return this.events.at(-1)?.sequence ?? this.root;
  }

  _apply(event, head) {
    const known = this.events.some(({ sequence }) => sequence === event.sequence);
    if (event.type === "message.sent" && event.data.thread === this.root && !known && event.sequence > head) {
      this.events = [...this.events, prepared(event, this.events)];
    }
    this.events = amend(this.events, event, this.me);
  }

  _take({ more, before }) {
    this.more = more;
    this._before = before ?? this.events[1]?.sequence;
  }
}
