/**
 * What this user is writing and has not sent, by room and thread: kept by the server for all devices, and here so that
 * changing rooms costs nothing.
 */

const WAIT_MS = 1_200;

export class Drafts {
  /** `command(name, payload)` asks the server; `changed(place)` tells of a draft written on another device. */
  constructor(command, changed) {
    this._command = command;
    this._changed = changed;
    this._texts = new Map();
    this._unsaid = new Map();
    this._timer = 0;
  }

  /** Loads all drafts: at each connect, after what was written meanwhile was said. */
  async load() {
    await this._say();
    const { drafts } = await this._command("drafts", {});
    for (const draft of drafts) this._take(draft);
    this._changed();
  }

  /** The text of a draft. */
  text(room, thread = null) {
    return this._texts.get(place(room, thread)) ?? "";
  }

  /** Notes what is being written. */
  put(room, thread, body) {
    const key = place(room, thread);
    if ((this._texts.get(key) ?? "") === body) return;
    this._texts.set(key, body);
    this._unsaid.set(key, { room, body, ...(thread && { thread }) });
    clearTimeout(this._timer);
    // One that was sent is gone at once: what has been sent must not come back as a draft on a reload.
    this._timer = setTimeout(() => this._say().catch(() => {}), body ? WAIT_MS : 0);
  }

  /** A `draft` that the server sends, also of this device. */
  heard(draft) {
    if (this._take(draft)) this._changed();
  }

  /** Says what was not said yet, as far as it can: for leaving. */
  close() {
    clearTimeout(this._timer);
    this._say().catch(() => {});
  }

  _take({ room, body, thread = null }) {
    const key = place(room, thread);
    // What is being written here is newer.
    if (this._unsaid.has(key) || (this._texts.get(key) ?? "") === body) return false;
    this._texts.set(key, body);
    return true;
  }

  async _say() {
    for (const [key, draft] of this._unsaid) {
      try {
        await this._command("draft.put", draft);
      } catch (error) {
        if (error.retryable) throw error;
      }
      if (this._unsaid.get(key) === draft) this._unsaid.delete(key);
    }
  }
}

function place(room, thread) {
  return `${room} ${thread ?? ""}`;
}
