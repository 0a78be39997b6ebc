/**
 * How much of a room is unread: the server's count as of an event, and on from there with each event that comes. Pure.
 *
 * Of a room, `read` is the last sequence seen, `unread` and `mentions` count what came after it, and `counted` is the
 * event up to which they do.
 */

/** Starts counting from what the server listed. */
export function startCount(room, { read = 0, unread = 0, mentions = 0, head = 0 }) {
  Object.assign(room, { read, unread, mentions, counted: head });
}

/** Takes a new list's numbers, unless they are older than what is known, or `pending` reading is not yet told. */
export function takeCount(room, listed, pending) {
  if (listed.head < room.counted) return;
  if (!pending) startCount(room, listed);
  else if (room.read >= listed.head) startCount(room, { ...listed, read: room.read, unread: 0, mentions: 0 });
}

/** Counts a message that has come. Who writes has read. */
export function countMessage(room, event, me) {
  if (event.type !== "message.sent" || event.sequence <= room.counted) return;
  room.counted = event.sequence;
  if (event.actor.id === me) return readTo(room, event.sequence, me);
  if (event.sequence <= room.read) return;
  room.unread += 1;
  if (mentions(event, me)) room.mentions += 1;
}

/** Sets the cursor and counts what is after it; where that is not loaded, with the numbers that are `told`, if any. */
export function readTo(room, sequence, me, told = null) {
  room.read = sequence;
  if (sequence >= (room.last ?? 0)) {
    Object.assign(room, { unread: 0, mentions: 0 });
  } else if (room.events.length > 0 && room.events[0].sequence <= sequence + 1) {
    const since = room.events.filter((event) => event.type === "message.sent" && event.sequence > sequence);
    room.unread = since.length;
    room.mentions = since.filter((event) => mentions(event, me)).length;
  } else if (told) {
    room.unread = told.unread;
    room.mentions = told.mentions ?? Math.min(room.mentions, told.unread);
  }
}

function mentions({ actor, data, erased }, me) {
  if (erased || actor.id === me) return false;
  return Boolean(data.mentions?.includes(me) || data.mention_all || data.mention_here);
}
