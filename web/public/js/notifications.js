/** What concerns this user: a list of notifications, the newest first, and how many of them are unread. */

const PAGE = 30;

export class Notifications {
  /** `command(name, payload)` asks the server; `changed` is called when list or number have. */
  constructor(command, changed) {
    this._command = command;
    this._changed = changed;
    this.list = [];
    this.unread = 0;
    this.more = false;
  }

  /** Loads the newest page: at each connect, so that nothing told meanwhile is missed. */
  async load() {
    const { notifications, more, unread } = await this._command("notifications", { limit: PAGE });
    const known = new Set(notifications.map(({ sequence }) => sequence));
    // One that came live while the page was on its way is not on it.
    const since = this.list.filter(({ sequence }) => !known.has(sequence) && sequence > (notifications[0]?.sequence ?? 0));
    this.list = [...since, ...notifications];
    this.unread = unread + since.filter(({ data }) => !data.read).length;
    this.more = more;
    this._changed();
  }

  /** Loads the page after the oldest. */
  async loadMore() {
    const { notifications, more, unread } = await this._command("notifications", { limit: PAGE, after: this.list.at(-1)?.sequence });
    this.list = [...this.list, ...notifications];
    Object.assign(this, { more, unread });
    this._changed();
  }

  /** A `notification` that the server sends. */
  came(event) {
    if (event.erased || this.list.some(({ sequence }) => sequence === event.sequence)) return;
    this.list = [event, ...this.list].sort((a, b) => b.sequence - a.sequence);
    this.unread += 1;
    this._changed();
  }

  /** A `notification.read` that the server sends, for all devices. */
  heard({ unread, sequences = [], up_to: upTo = 0 }) {
    this.unread = unread;
    const read = new Set(sequences);
    this.list = this.list.map((one) => (one.sequence <= upTo || read.has(one.sequence) ? { ...one, data: { ...one.data, read: true } } : one));
    this._changed();
  }

  /** A message is gone, and with it what was told of it. */
  forget(room, message) {
    const left = this.list.filter(({ data }) => data.room !== room || data.event !== message);
    if (left.length === this.list.length) return;
    this.list = left;
    this._changed();
  }

  /** Marks some, or with no sequences all, as read. Raises `RequestError`. */
  async read(sequences = null) {
    const newest = this.list[0]?.sequence;
    if (!newest) return;
    const asked = sequences ? { sequences } : { up_to: newest };
    const { unread } = await this._command("notification.read", asked);
    this.heard({ unread, ...asked });
  }
}

/** The sentence for a notification. */
export function notificationLine({ actor, data }) {
  const room = data.name || "a direct message";
  switch (data.cause) {
    case "mention":
      return `${actor.name} mentioned you in ${room}`;
    case "reply":
      return `${actor.name} answered you in ${room}`;
    case "direct":
      return `${actor.name} wrote to you`;
    case "reaction":
      return `${actor.name} reacted ${data.text ?? ""} to your message in ${room}`;
    case "invitation":
      return `${actor.name} invited you to ${data.name || "a room"}`;
    case "moderation":
      return `${MODERATED[data.type] ?? "A moderator did something about you"} in ${data.name || "a room"}`;
    default:
      return `${actor.name} in ${room}`;
  }
}

const MODERATED = {
  "member.removed": "You were removed",
  "member.banned": "You were banned",
  "member.unbanned": "You may come back",
  "member.muted": "You were muted",
  "member.unmuted": "You may write again",
};
