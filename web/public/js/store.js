/**
 * What this client knows of its rooms. Pure: no network, no clock, no page; everything it holds came in as an argument.
 *
 * A room's `events` are consecutive, but for what a page of history leaves out because it only says what became of
 * messages, which are as they are now; they end at `last`, the sequence of the newest event known (`null`: none known, so
 * whatever comes next is taken as it comes). `events` may be empty with `last` known: the history is just not loaded.
 * `head` is the room's end as the server last listed it, `read` the last sequence this user has seen. `pending` are own
 * messages that the server has not confirmed.
 */

import { amend } from "./amendments.js";

/** Events kept of a room that is being read at its end; older ones can be loaded again. */
export const KEEP = 400;
/** A read mark further back than this is counted, not caught up with. */
export const MOST_CAUGHT_UP = 500;

export class Store {
  /** `me` is the signed-in user's id. */
  constructor(me) {
    this.me = me;
    this.rooms = new Map();
  }

  /** The joined rooms by name, for the sidebar. */
  joined() {
    return this._sorted((room) => room.joined);
  }

  /** The rooms this user is invited to and has not joined. */
  invitations() {
    return this._sorted((room) => room.invited && !room.joined);
  }

  /**
   * Takes in the server's list of rooms, with the read marks `{room: sequence}` kept on this device. Rooms of ours that
   * a complete list no longer names are gone. What was already known of a room stays.
   */
  takeList({ rooms, more }, marks = {}) {
    const named = new Set(rooms.map((room) => room.id));
    if (!more) for (const id of this.rooms.keys()) if (!named.has(id)) this.rooms.delete(id);
    for (const info of rooms) {
      const room = this.rooms.get(info.id);
      if (!info.joined && !info.invited) this.rooms.delete(info.id);
      else if (room && room.joined === info.joined) describe(room, info);
      else this.rooms.set(info.id, newRoom(info, marks[info.id]));
    }
  }

  /** Adds a room that this user has just made or joined; its history is not known yet. */
  addJoined(info) {
    const known = this.rooms.get(info.id);
    if (known?.joined) return known;
    const room = { ...newRoom({ head: 0, ...info, joined: true, invited: false }), last: null, read: 0 };
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
    room.events.push(event);
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
    if (room.events.length === 0) {
      const known = room.last ?? 0;
      room.events = [...page];
      room.more = more && page.length > 0;
      room.before = before;
      room.last = Math.max(head, page.at(-1)?.sequence ?? known);
      for (const event of page) if (event.sequence > known) evolve(room, event, this.me);
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

  /** How many messages of others wait in a room; events that were never loaded count one each. */
  unread(id) {
    const room = this.rooms.get(id);
    if (!room?.joined || room.last === null) return 0;
    const first = room.events[0]?.sequence ?? room.last + 1;
    const loaded = room.events.filter((event) => event.sequence > room.read && isMessageOfOther(event, this.me));
    return loaded.length + Math.max(0, first - 1 - room.read);
  }

  /** Notes that everything up to `sequence` was seen (also by another tab). Returns whether that is news. */
  markRead(id, sequence) {
    const room = this.rooms.get(id);
    if (!room || !(sequence > room.read)) return false;
    room.read = sequence;
    return true;
  }

  /** Replaces a room's member list; `more` tells that it is cut short. */
  setMembers(id, members, more = false) {
    const room = this.rooms.get(id);
    if (!room) return;
    room.members = new Map(members.map((member) => [member.id, member]));
    room.membersCut = more;
    count(room);
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

  _sorted(wanted) {
    return [...this.rooms.values()].filter(wanted).sort((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
  }
}

function newRoom(info, mark) {
  const head = info.head ?? 0;
  const read = Math.min(mark ?? head, head);
  // Starting at the mark has the server send what was missed, so that the messages among it can be counted.
  const last = head - read > MOST_CAUGHT_UP ? head : read;
  const room = { events: [], more: head > 0, last, read, members: null, membersCut: false, pending: [] };
  return describe(room, info);
}

function describe(room, info) {
  const { id, name, topic = "", kind, archived = false, head = 0, joined, invited = false, members = 1 } = info;
  return Object.assign(room, { id, name, topic, kind, archived, head, joined, invited, memberCount: members });
}

/** What an event changes besides being in the list. Unknown types change nothing, which keeps old pages working. */
function evolve(room, event, me) {
  if (event.erased) return; // it does not say any more what it changed
  const user = event.data?.user ?? event.actor;
  room.events = amend(room.events, event, me);
  if (event.type === "events.erased") eraseEvents(room, event.data.ranges);
  else if (event.type === "member.joined") setMember(room, { ...user, ...roleIn(event), state: "joined" });
  else if (event.type === "member.invited") setMember(room, { ...user, state: "invited" });
  else if (event.type === "member.changed") setMember(room, { ...user, ...roleIn(event), state: "joined" });
  else if (event.type === "member.left") dropMember(room, user, me);
  else if (event.type === "room.archived") room.archived = true;
  else if (event.type === "room.updated") renameRoom(room, event.data);
  else if (event.type === "message.sent" && event.actor.id === me) dropSent(room, event);
}

/** The event has only what changed. */
function renameRoom(room, { name = room.name, topic = room.topic }) {
  Object.assign(room, { name, topic });
}

/** What was shown so far of events that were erased is forgotten. */
function eraseEvents(room, ranges) {
  const erased = ({ sequence }) => ranges.some(([first, last]) => first <= sequence && sequence <= last);
  const rest = { actor: { id: "" }, data: {}, id: "", erased: true };
  room.events = room.events.map((event) => (erased(event) ? { ...event, ...rest } : event));
}

function roleIn({ data }) {
  return data?.role ? { role: data.role } : {};
}

function setMember(room, member) {
  const known = room.members?.get(member.id);
  const name = member.name ?? known?.name ?? member.id;
  room.members?.set(member.id, { role: "member", ...known, ...member, name });
  count(room);
}

function dropMember(room, user, me) {
  if (user.id === me) room.joined = false;
  room.members?.delete(user.id);
  count(room);
}

/** A complete list counts itself; otherwise the number the server told last stands until it tells the next. */
function count(room) {
  if (!room.members || room.membersCut) return;
  room.memberCount = [...room.members.values()].filter((member) => member.state === "joined").length;
}

/** An own event may overtake its ack; it carries the id that its message was sent under. */
function dropSent(room, event) {
  room.pending = room.pending.filter((message) => message.id !== event.id);
}

function isMessageOfOther(event, me) {
  return event.type === "message.sent" && event.actor.id !== me;
}
