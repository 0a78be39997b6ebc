/** From a room's events to what its list shows: days, groups by author, system lines, pending messages. Pure. */

const GROUP_MS = 5 * 60_000;

/**
 * The rows of a room, oldest first. Each has a `key` that stays its own, and a `kind`: `day` {at}, `unread`,
 * `system` {text, at} or `message` {actor, body, edited, reactions, at, mine, state, opens, closes}; `opens` and `closes` tell
 * whether it is the first and the last of a run by one author. `unseen` is the range of
 * sequences `{from, to}` not seen when the room was opened, or null.
 */
export function buildTimeline(room, me, unseen = null) {
  const rows = [];
  let divided = unseen === null;
  for (const event of room.events) {
    const row = rowFor(event, me.id);
    if (!row) continue;
    openDay(rows, row.at);
    const within = !divided && event.sequence >= unseen.from && event.sequence <= unseen.to;
    if (within && row.kind === "message" && !row.mine) {
      rows.push({ kind: "unread", key: "unread" });
      divided = true;
    }
    rows.push(row);
  }
  for (const pending of room.pending) {
    openDay(rows, pending.at);
    rows.push({
      kind: "message",
      key: pending.id,
      id: pending.id,
      actor: me,
      body: pending.body,
      at: pending.at,
      mine: true,
      state: pending.state,
      error: pending.error ?? "",
    });
  }
  return group(rows);
}

/** The sentence for an event that is not a message, or null when it is not worth a line. */
export function describeEvent(event) {
  if (event.erased) return event.type === "message.sent" ? (event.actor.id ? "A message was deleted" : "A message was erased") : null;
  const user = event.data?.user ?? event.actor;
  const actor = event.actor.name;
  const name = user.name ?? "someone"; // an invitation may name its user by id alone
  switch (event.type) {
    case "room.created":
      return `${actor} created the room`;
    case "member.joined":
      if (user.id !== event.actor.id) return `${actor} added ${name}`;
      return event.data?.role === "owner" ? `${actor} joined and is the owner now` : `${actor} joined`;
    case "member.changed": // the old owner's event tells nothing that the new one's does not
      return event.data?.role === "owner" ? `${name} is the owner now` : null;
    case "member.left":
      return user.id === event.actor.id ? `${actor} left` : `${actor} removed ${name}`;
    case "member.invited":
      return `${actor} invited ${name}`;
    case "room.archived":
      return event.data?.reason ? `The room was closed: ${event.data.reason}` : "The room was closed";
    case "room.updated":
      return `${actor} changed the room: ${[event.data.name, event.data.topic].filter(Boolean).join(" · ")}`;
    default:
      return null;
  }
}

function rowFor(event, me) {
  if (event.type === "message.sent" && !event.erased) {
    const { actor, at, event_id: key } = event;
    const { body, edited_at, reactions = [] } = event.data;
    const edited = Boolean(edited_at);
    return { kind: "message", key, actor, body, edited, reactions, at, mine: actor.id === me, state: "sent", error: "" };
  }
  const text = describeEvent(event);
  return text && { kind: "system", key: event.event_id, text, at: event.at };
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
