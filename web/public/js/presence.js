/** Who of the rooms that this page shows is there, and what this user is shown as. */

const CHOICE_KEY = "parley.presence";
const IDLE_MS = 5 * 60_000;
/** Rooms that are looked at besides the open one: direct ones, for the dots in the list. */
const MOST_LOOKED_AT = 20;

export class Presence {
  /** `command(name, payload)` asks the server; `changed` is called when a dot has changed. */
  constructor(command, changed) {
    this._command = command;
    this._changed = changed;
    this._rooms = new Map();
    this._idle = false;
    this._timer = 0;
    this._watch = new AbortController();
    const active = () => this._active();
    for (const name of ["pointerdown", "keydown", "focus"]) addEventListener(name, active, { signal: this._watch.signal, passive: true });
    this._active();
  }

  /** What this user chose to be shown as; "automatic" without a choice. Kept on this device, since the server forgets it. */
  get choice() {
    return localStorage.getItem(CHOICE_KEY) ?? "automatic";
  }

  /** Chooses what to be shown as. Raises `RequestError`. */
  async choose(state) {
    await this._command("presence.set", { state });
    if (state === "automatic") localStorage.removeItem(CHOICE_KEY);
    else localStorage.setItem(CHOICE_KEY, state);
    this._changed();
  }

  /** What a user is shown as in any room that is looked at: "online", "away", "dnd", or "offline". */
  of(userId) {
    for (const users of this._rooms.values()) {
      const state = users.get(userId);
      if (state) return state;
    }
    return "offline";
  }

  /** Looks at these rooms, and no more at others. */
  look(current, direct) {
    const wanted = new Set([current, ...direct.slice(0, MOST_LOOKED_AT)].filter(Boolean));
    for (const room of this._rooms.keys()) {
      if (wanted.has(room)) continue;
      this._rooms.delete(room);
      this._command("presence", { room, stop: true }).catch(() => {});
    }
    for (const room of wanted) if (!this._rooms.has(room)) this._ask(room);
  }

  /** Looks end with the connection: after each connect everything is asked for again. */
  connected() {
    const rooms = [...this._rooms.keys()];
    rooms.forEach((room) => this._ask(room));
    if (this._idle) this._say();
  }

  /** A `presence` that the server sends. */
  heard({ room, users, whole = false }) {
    const known = this._rooms.get(room);
    if (!known) return;
    if (whole) known.clear();
    for (const { id, state } of users) {
      if (state === "offline") known.delete(id);
      else known.set(id, state);
    }
    this._changed();
  }

  close() {
    clearTimeout(this._timer);
    this._watch.abort();
  }

  async _ask(room) {
    if (!this._rooms.has(room)) this._rooms.set(room, new Map());
    try {
      const { users } = await this._command("presence", { room });
      this.heard({ room, users, whole: true });
    } catch {
      // Dots are a comfort; the next connect or opening asks again.
      this._rooms.delete(room);
    }
  }

  _active() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._setIdle(true), IDLE_MS);
    if (this._idle) this._setIdle(false);
  }

  _setIdle(idle) {
    this._idle = idle;
    this._say();
  }

  _say() {
    this._command("presence.set", { idle: this._idle }).catch(() => {});
  }
}

/** The word for a state. */
export function presenceWord(state) {
  return { online: "Online", away: "Away", dnd: "Do not disturb", invisible: "Invisible", automatic: "Automatic" }[state] ?? "Offline";
}
