/**
 * What this client knows of its rooms. Pure: no network, no clock, no page; everything it holds came in as an argument.
 *
 * A room's `events` are consecutive, but for what a page of history leaves out because it only says what became of
 * messages, which are as they are now; they end at `last`, the sequence of the newest event known (`null`: none known, so
 * whatever comes next is taken as it comes). `events` may be empty with `last` known: the history is just not loaded.
 * `head` is the room's end as the server last listed it; see `unread.js` for what counts as read. `pending` are own
 * messages that the server has not confirmed, `asides` answers of bots that are for this user alone.
 */

import { amend, prepared } from "./amendments.js";
import { countMembers, evolve, noteMute } from "./room_events.js";
import { readTo, startCount, takeCount } from "./unread.js";

/** Events kept of a room that is being read at its end; older ones can be loaded again. */
export const KEEP = 400;

export class Store {
  /** `me` is the signed-in user's id. */
  constructor(me) {
    this.me = me;
    this.rooms = new Map();
    this.people = new Map();
  }

  /** The joined rooms, the most active first. */
  joined() {
    return [...this.rooms.values()].filter((room) => room.joined).sort(byActivity);
  }

  /** The rooms this user is invited to and has not joined. */
  invitations() {
    return [...this.rooms.values()].filter((room) => room.invited && !room.joined).sort(byActivity);
  }

  /** What a user is called, as far as this page has heard. */
  nameOf(id) {
    return this.people.get(id) ?? "Someone";
  }

  /** What a room is called for this user: a direct one after its other people. */
  titleOf(room) {
    if (room.kind !== "direct") return room.name;
    const others = room.users.filter((id) => id !== this.me);
    return others.length ? others.map((id) => this.nameOf(id)).join(", ") : "Notes to yourself";
  }

  /** Notes what users `{id, name}` are called. */
  meet(...users) {
    for (const { id, name } of users) if (id && name && name !== id) this.people.set(id, name);
  }

  /**
   * Takes in the server's list of this user's rooms. Rooms that a complete list no longer names are gone, but for a direct
   * one in which nothing was said yet, which no list has. What was already known of a room stays. `pending` are the ids of
   * rooms in which was read what the server has not been told yet.
   */
  takeList({ rooms, more }, pending = new Set()) {
    const named = new Set(rooms.map((room) => room.id));
    if (!more) for (const [id, room] of this.rooms) if (!named.has(id) && !room.fresh) this.rooms.delete(id);
    for (const info of rooms) {
      const room = this.rooms.get(info.id);
      if (info.last) this.meet(info.last.actor);
      if (!info.joined && !info.invited) this.rooms.delete(info.id);
      else if (room && room.joined === info.joined) takeCount(describe(room, info), info, pending.has(info.id));
      else this.rooms.set(info.id, newRoom(info));
    }
  }

  /** Adds a room that this user has just made or joined; its history is not known yet. `sequence` is that of the join. */
  addJoined(info, sequence = 0) {
    const known = this.rooms.get(info.id);
    if (known?.joined) return known;
    const room = Object.assign(newRoom({ head: 0, ...info, joined: true, invited: false }), { last: null, activeAt: new Date().toISOString() });
    startCount(room, { read: sequence, head: sequence });
    room.fresh = info.kind === "direct";
    this.rooms.set(info.id, room);
    return room;
  }

  /** Forgets a room. */
  remove(id) {
    this.rooms.delete(id);
  }

  /**
   * Takes in one event: `applied`; `duplicate` (known already, nothing changed); `gap` (events before it are missing,
   * nothing changed: load history after `last`); or `unknown` (not a room of ours, as far as we know).
   */
  apply(event) {
    const room = this.rooms.get(event.room);
    if (!room?.joined) return "unknown";
    if (room.last !== null && event.sequence <= room.last) return "duplicate";
    if (room.last !== null && event.sequence !== room.last + 1) return "gap";
    this.meet(event.actor, event.data?.user ?? {});
    room.events.push(prepared(event, room.events));
    room.last = event.sequence;
    evolve(room, event, this.me);
    if (!room.joined) this.rooms.delete(room.id);
    return "applied";
  }

  /**
   * Takes in a page of history, oldest first: what is older than what we have goes before it, what is newer is applied.
   * `more` tells whether the server has still older events, before `before`. The page was `asked` for with what
   * `olderThan` said, and is as of `head`.
   */
  merge(id, events, more, { asked, head = 0, before } = {}) {
    const room = this.rooms.get(id);
    if (!room) return;
    const page = head ? events.map((event) => ({ ...event, as_of: head })) : events;
    for (const event of page) this.meet(event.actor, event.data?.user ?? {});
    if (room.events.length === 0) {
      const known = room.last ?? 0;
      room.events = [...page];
      room.more = more && page.length > 0;
      room.before = before;
      room.last = Math.max(head, page.at(-1)?.sequence ?? known);
      for (const event of page) {
        if (event.sequence > known) evolve(room, event, this.me);
        else noteMute(room, event, this.me);
      }
      return;
    }
    const first = room.events[0].sequence;
    const older = page.filter((event) => event.sequence < first);
    if (older.at(-1)?.sequence === first - 1 || (asked !== undefined && asked === this.olderThan(id))) {
      const since = room.events;
      // What came since the page was read is applied to its messages; the others know it already.
      let amendedOlder = older;
      for (const event of since) amendedOlder = amend(amendedOlder, event, this.me);
      room.events = [...amendedOlder, ...since];
      Object.assign(room, { more, before });
    } else if (page.length === 0) {
      room.more = false;
    }
    for (const event of page) this.apply(event);
  }

  /** The sequence before which older events are to be asked for; undefined for the newest. */
  olderThan(id) {
    const room = this.rooms.get(id);
    return room?.events.length ? room.before ?? room.events[0].sequence : undefined;
  }

  /** The server's `reset`: the local copy is worth nothing, the room is at `sequence`. Unread stays counted from `read`. */
  reset(id, sequence) {
    const room = this.rooms.get(id);
    if (room) Object.assign(room, { events: [], more: true, before: undefined, last: sequence });
  }

  /** Drops the oldest events beyond `KEEP`. */
  trim(id) {
    const room = this.rooms.get(id);
    if (!room || room.events.length <= KEEP) return;
    room.events.splice(0, room.events.length - KEEP);
    Object.assign(room, { more: true, before: undefined });
  }

  /** `{room: last sequence seen}`: what the server needs to know to send what was missed. */
  cursors() {
    const known = [...this.rooms.values()].filter((room) => room.joined && room.last !== null);
    return Object.fromEntries(known.map((room) => [room.id, room.last]));
  }

  /** How many messages wait in a room. */
  unread(id) {
    return this.rooms.get(id)?.unread ?? 0;
  }

  /** Notes that everything up to `sequence` was seen. Returns whether that is news. */
  markRead(id, sequence) {
    const room = this.rooms.get(id);
    if (!room || !(sequence > room.read)) return false;
    readTo(room, sequence, this.me);
    return true;
  }

  /** Takes in where the server says that this user has read to, on whatever device; `back` sets it back. */
  readElsewhere({ room: id, sequence, unread, mentions, back = false }) {
    const room = this.rooms.get(id);
    if (room && (back || sequence >= room.read)) readTo(room, sequence, this.me, { unread, mentions });
  }

  /** Replaces a room's member list; `more` tells that it is cut short. */
  setMembers(id, members, more = false) {
    const room = this.rooms.get(id);
    if (!room) return;
    this.meet(...members);
    room.members = new Map(members.map((member) => [member.id, member]));
    room.membersCut = more;
    countMembers(room);
  }

  /** Shows an own message before the server has it. */
  addPending(id, message) {
    this.rooms.get(id)?.pending.push({ state: "pending", ...message });
  }

  /** The server has taken a pending message; it goes once its event is here. */
  settle(id, messageId, { event_id, sequence, at }) {
    const room = this.rooms.get(id);
    const message = room?.pending.find((candidate) => candidate.id === messageId);
    if (!message) return;
    Object.assign(message, { state: "accepted", event_id, sequence, at });
    if (room.last !== null && sequence <= room.last) room.pending.splice(room.pending.indexOf(message), 1);
  }

  /** Changes a pending message, for example to `{state: "failed", error}`. */
  changePending(id, messageId, change) {
    const message = this.rooms.get(id)?.pending.find((candidate) => candidate.id === messageId);
    if (message) Object.assign(message, change);
  }

  /** Gives a pending message up. */
  dropPending(id, messageId) {
    const room = this.rooms.get(id);
    if (room) room.pending = room.pending.filter((message) => message.id !== messageId);
  }
}

function byActivity(a, b) {
  if (a.archived !== b.archived) return a.archived ? 1 : -1;
  return a.activeAt === b.activeAt ? (a.id < b.id ? -1 : 1) : a.activeAt > b.activeAt ? -1 : 1;
}

function newRoom(info) {
  const head = info.head ?? 0;
  const room = { events: [], more: head > 0, last: head, members: null, membersCut: false, pending: [], asides: [], muted: null, fresh: false };
  startCount(room, { ...info, read: info.read ?? head });
  return describe(room, info);
}

function describe(room, info) {
  const { id, name, topic = "", kind, archived = false, head = 0, joined, invited = false, members = 1, users = [], level = "all" } = info;
  const { slow_seconds: slowSeconds = 0, unread_threads: unreadThreads = false, active_at: activeAt = "", last = null } = info;
  Object.assign(room, { id, name, topic, kind, archived, head, joined, invited, memberCount: members, users, level, slowSeconds, unreadThreads });
  // What came live is newer than a list that was asked for before.
  if (!room.activeAt || activeAt > room.activeAt) room.activeAt = activeAt || info.created_at || "";
  if (last && last.sequence >= (room.preview?.sequence ?? 0)) {
    room.preview = last.erased ? null : { sequence: last.sequence, actor: last.actor, text: last.text ?? "" };
  }
  return room;
}
