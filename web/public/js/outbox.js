/**
 * Own messages on their way. Each is sent again under the same id until the server has answered, whatever happens in
 * between; the server keeps the first and ignores the rest. A room's messages go one after the other, so that a retry
 * cannot change their order. They survive a reload of the tab in sessionStorage.
 */

import { newId } from "./identifiers.js";

const TRIES = 8;
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 8_000;
const LONGEST_ASKED_MS = 60_000;

export class Outbox {
  /** `changed` is called with a room's id whenever one of its pending messages has changed, `refused` also with the error. */
  constructor(connection, store, changed, refused) {
    this._connection = connection;
    this._store = store;
    this._changed = changed;
    this._refused = refused;
    this._sending = new Set();
    this._stopped = false;
    this._key = `parley.outbox.${store.me}`;
    this._orphans = this._load();
  }

  /** Puts a message in line. `more` are fields of `message.send` besides, and `shown` what its row is shown with meanwhile. */
  send(roomId, body, more = {}, shown = {}) {
    this._store.addPending(roomId, { id: newId(), body, more, shown, at: new Date().toISOString() });
    this._note(roomId);
    this._work(roomId);
  }

  /** Sends a failed message once more, under its old id: should the server have it after all, nothing doubles. */
  retry(roomId, id) {
    this._store.changePending(roomId, id, { state: "pending", error: "" });
    this._note(roomId);
    this._work(roomId);
  }

  /** Gives a failed message up. */
  discard(roomId, id) {
    this._store.dropPending(roomId, id);
    this._note(roomId);
  }

  /** Goes on with all rooms: after a connect, and when rooms have become known. */
  resume() {
    for (const [roomId, messages] of Object.entries(this._orphans)) {
      if (!this._store.rooms.has(roomId)) continue;
      for (const message of messages) this._store.addPending(roomId, message);
      delete this._orphans[roomId];
      this._changed(roomId);
    }
    for (const roomId of this._store.rooms.keys()) this._work(roomId);
  }

  /** Sends no more and forgets what waits: for signing out. */
  stop() {
    this._stopped = true;
    sessionStorage.removeItem(this._key);
  }

  async _work(roomId) {
    if (this._sending.has(roomId)) return;
    this._sending.add(roomId);
    try {
      for (let message = this._next(roomId); message && !this._stopped; message = this._next(roomId)) {
        if (!(await this._deliver(roomId, message))) break;
        this._note(roomId);
      }
    } finally {
      this._sending.delete(roomId);
    }
  }

  _next(roomId) {
    return this._store.rooms.get(roomId)?.pending.find((message) => message.state === "pending");
  }

  /** Returns whether the message is dealt with; false leaves it for the next connect. */
  async _deliver(roomId, { id, body, more = {} }) {
    for (let attempt = 1; !this._stopped; attempt += 1) {
      try {
        const ack = await this._connection.command("message.send", { id, room: roomId, body, ...more });
        this._store.settle(roomId, id, ack);
        return true;
      } catch (error) {
        if (error.code === "disconnected") return false;
        if (!error.retryable || attempt >= TRIES) {
          this._store.changePending(roomId, id, { state: "failed", error: error.message });
          this._refused(roomId, error);
          return true;
        }
        const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1)) * (0.75 + Math.random() / 2);
        // Where the server says how long, as in slow mode, it is asked no sooner.
        const asked = Math.min((error.data?.retry_after ?? 0) * 1000, LONGEST_ASKED_MS);
        await new Promise((resolve) => setTimeout(resolve, Math.max(wait, asked)));
      }
    }
    return false;
  }

  _note(roomId) {
    this._save();
    this._changed(roomId);
  }

  _save() {
    const waiting = { ...this._orphans };
    for (const room of this._store.rooms.values()) {
      const messages = room.pending.filter((message) => message.state === "pending" || message.state === "failed");
      if (messages.length) waiting[room.id] = messages.map(({ id, body, more, at, state, error }) => ({ id, body, more, at, state, error }));
    }
    try {
      sessionStorage.setItem(this._key, JSON.stringify(waiting));
    } catch {
      // Full or forbidden: a reload then loses what is pending, sending does not suffer.
    }
  }

  _load() {
    try {
      return JSON.parse(sessionStorage.getItem(this._key)) ?? {};
    } catch {
      return {};
    }
  }
}
