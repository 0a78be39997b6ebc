/** From a room's events to what its list shows: days, groups by author, system lines, pending messages. Pure. */

const GROUP_MS = 5 * 60_000;
const EMPTY = {
  kind: "message", sequence: 0, version: 1, edited: false, reactions: [], attachments: [], mentions: [], quote: null, replyTo: 0,
  thread: null, root: 0, inThread: false, pinned: false, forward: null, custom: null, everybody: false, error: "", state: "sent",
};

/**
 * The rows of a room, oldest first. Each has a `key` that stays its own, and a `kind`: `day` {at}, `unread`,
 * `system` {text, at}, `aside` {bot, text, at} or `message` {sequence, actor, at, mine, state, opens, closes, and what the
 * message's data says}; `opens` and `closes` tell whether it is the first and the last of a run by one author. `unseen` is
 * the range of sequences `{from, to}` not seen when the room was opened, or null. `thread` names the thread that is shown,
 * if it is not the room itself.
 */
export function buildTimeline(room, me, unseen = null, thread = null) {
  const rows = [];
  let divided = unseen === null;
  for (const event of room.events) {
    const row = rowFor(event, me, thread, room.members);
    if (!row) continue;
    openDay(rows, row.at);
    const within = !divided && event.sequence >= unseen.from && event.sequence <= unseen.to;
    if (within && row.kind === "message" && !row.mine) {
      rows.push({ kind: "unread", key: "unread" });
      divided = true;
    }
    rows.push(row);
  }
  for (const { id, bot, text, at } of room.asides ?? []) rows.push({ kind: "aside", key: id, bot, text, at });
  for (const pending of room.pending) {
    const { more = {}, shown = {} } = pending;
    // In its room a reply is shown too, as it will be.
    if (thread && more.thread !== thread) continue;
    openDay(rows, pending.at);
    rows.push({
      ...EMPTY,
      ...shown,
      key: pending.id,
      id: pending.id,
      actor: me,
      body: pending.body,
      at: pending.at,
      mine: true,
      state: pending.state,
      error: pending.error ?? "",
      inThread: !thread && Boolean(more.thread),
    });
  }
  return group(rows);
}

/** The sentence for an event that is not a message, or null when it is not worth a line. `names(id)` says who somebody is. */
export function describeEvent(event, names = () => "someone") {
  if (event.erased) return event.type === "message.sent" ? (event.actor.id ? "A message was deleted" : "A message was erased") : null;
  const user = event.data?.user ?? event.actor;
  const actor = event.actor.name;
  const name = user.name || names(user.id); // an invitation may name its user by id alone
  switch (event.type) {
    case "room.created":
      return `${actor} created the room`;
    case "member.joined":
      if (user.id !== event.actor.id) return `${actor} added ${name}`;
      return event.data?.role === "owner" ? `${actor} joined and is the owner now` : `${actor} joined`;
    case "member.changed": // the old owner's event tells nothing that the new one's does not
      if (event.data?.role === "moderator") return `${name} is a moderator now`;
      return event.data?.role === "owner" ? `${name} is the owner now` : null;
    case "member.removed":
      return `${actor} removed ${name}${because(event)}`;
    case "member.banned":
      return `${actor} banned ${name}${because(event)}`;
    case "member.unbanned":
      return `${actor} lifted the ban of ${name}`;
    case "member.muted":
      return `${actor} muted ${name}${because(event)}`;
    case "member.unmuted":
      return `${actor} lets ${name} write again`;
    case "permissions.changed":
      return `${actor} changed who may do what`;
    case "room.unarchived":
      return `${actor} opened the room again`;
    case "member.left":
      return user.id === event.actor.id ? `${actor} left` : `${actor} removed ${name}`;
    case "member.invited":
      return `${actor} invited ${name}`;
    case "room.archived":
      return event.data?.reason ? `The room was closed: ${event.data.reason}` : "The room was closed";
    case "room.updated":
      return `${actor} changed the room: ${changesOf(event.data)}`;
    default:
      return null;
  }
}

function because({ data }) {
  return data?.reason ? `: ${data.reason}` : "";
}

function changesOf({ name, topic, slow_seconds: slow }) {
  const changes = [name && `it is called ${name}`, topic && `topic: ${topic}`, topic === "" && "no topic",
    slow > 0 && `slow mode, ${slow} s between messages`, slow === 0 && "no slow mode"];
  return changes.filter(Boolean).join(" · ");
}

function rowFor(event, me, shownThread, members) {
  if (event.type === "message.sent" && !event.erased) return messageRow(event, me.id, shownThread);
  const text = describeEvent(event, (id) => (id === me.id ? me.name : members?.get(id)?.name) ?? "someone");
  return text && { kind: "system", key: event.event_id, text, at: event.at };
}

function messageRow({ actor, at, sequence, event_id: key, data }, me, shownThread) {
  const root = typeof data.thread === "number" ? data.thread : 0;
  return {
    ...EMPTY,
    key,
    sequence,
    actor,
    at,
    mine: actor.id === me,
    body: data.body,
    version: data.version ?? 1,
    edited: Boolean(data.edited_at),
    reactions: data.reactions ?? [],
    attachments: data.attachments ?? [],
    mentions: data.mentions ?? [],
    everybody: Boolean(data.mention_all || data.mention_here),
    quote: data.quote ?? null,
    replyTo: data.reply_to ?? 0,
    thread: root ? null : data.thread ?? null,
    root,
    inThread: root > 0 && root !== shownThread,
    pinned: Boolean(data.pinned),
    forward: data.forward ?? null,
    custom: data.data ?? null,
  };
}

function openDay(rows, at) {
  const day = new Date(at).toDateString();
  const latest = rows.findLast((row) => row.at !== undefined);
  if (!latest || new Date(latest.at).toDateString() !== day) rows.push({ kind: "day", key: `day ${day}`, at });
}

function group(rows) {
  rows.forEach((row, index) => {
    if (row.kind !== "message") return;
    row.opens = !continues(rows[index - 1], row);
    row.closes = !rows[index + 1] || !continues(row, rows[index + 1]);
  });
  return rows;
}

function continues(before, row) {
  return (
    before?.kind === "message" &&
    row.kind === "message" &&
    before.actor.id === row.actor.id &&
    new Date(row.at) - new Date(before.at) < GROUP_MS
  );
}
