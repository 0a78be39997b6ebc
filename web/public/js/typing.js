/** Who is writing in which room. Pure: times are arguments, in milliseconds. */

/** What was said holds so long, unless it is said again. */
export const TYPING_MS = 6_000;
/** Others are told at most so often. */
export const TELL_MS = 2_000;

export class Typing {
  constructor() {
    this._until = new Map();
    this._told = new Map();
  }

  /** Somebody else is writing. */
  heard(room, user, now) {
    if (!this._until.has(room)) this._until.set(room, new Map());
    this._until.get(room).set(user, now + TYPING_MS);
  }

  /** What they were writing has come, or they left. */
  stopped(room, user) {
    return this._until.get(room)?.delete(user) ?? false;
  }

  /** The ids of who is writing in a room, who began last last. */
  users(room, now) {
    const known = this._until.get(room) ?? new Map();
    for (const [user, until] of known) if (until <= now) known.delete(user);
    return [...known.keys()];
  }

  /** Whether the others in a room are to be told now that one is writing oneself. */
  tells(room, now) {
    if (now - (this._told.get(room) ?? -TELL_MS) < TELL_MS) return false;
    this._told.set(room, now);
    return true;
  }
}

/** The line that says so, for names; empty for none. */
export function typingLine(names) {
  if (names.length === 0) return "";
  if (names.length === 1) return `${names[0]} is typing…`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing…`;
  return "Several people are typing…";
}
