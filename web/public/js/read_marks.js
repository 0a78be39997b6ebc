/**
 * Tells the server how far this user has read, so that it is the same on all devices. What could not be told yet is kept
 * until it can: the connection may be away when a room is read.
 */

const WAIT_MS = 300;

export class ReadMarks {
  /** `tell(room, sequence)` sends a mark; what it answers, or throws, is its own affair but for whether it throws. */
  constructor(tell) {
    this._tell = tell;
    this._waiting = new Map();
    this._timer = 0;
  }

  /** The ids of rooms in which was read what the server does not know yet. */
  pending() {
    return new Set(this._waiting.keys());
  }

  /** Notes that a room was read up to an event. */
  set(room, sequence) {
    if ((this._waiting.get(room) ?? 0) >= sequence) return;
    this._waiting.set(room, sequence);
    this._soon();
  }

  /** Forgets what was to be told of a room: it was set back by hand. */
  drop(room) {
    this._waiting.delete(room);
  }

  /** Tells what waits: after a connect. */
  resume() {
    if (this._waiting.size > 0) this._soon();
  }

  close() {
    clearTimeout(this._timer);
    this._waiting.clear();
  }

  _soon() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => [...this._waiting].forEach(([room, sequence]) => this._say(room, sequence)), WAIT_MS);
  }

  async _say(room, sequence) {
    try {
      await this._tell(room, sequence);
    } catch (error) {
      if (error.retryable) return; // said again after the next connect, or with the next reading
    }
    if (this._waiting.get(room) === sequence) this._waiting.delete(room);
  }
}
