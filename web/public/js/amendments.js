/**
 * What became of messages: edits, deletions and reactions, applied to the list of a room's events. Pure. A message that
 * came in a page of history has `as_of`, the sequence up to which the page knew.
 */

const AMENDING = new Set(["message.edited", "message.deleted", "reaction.added", "reaction.removed"]);

/** Applies an event to the message it is about, if that is among `events`. Returns the list, a new one if it changed. */
export function amend(events, event, me) {
  if (!AMENDING.has(event.type) || event.erased) return events;
  const index = events.findIndex(({ sequence, type }) => sequence === event.data.message && type === "message.sent");
  if (index < 0 || events[index].erased || event.sequence <= (events[index].as_of ?? 0)) return events;
  return events.with(index, amended(events[index], event, me));
}

function amended(message, event, me) {
  const { data } = message;
  switch (event.type) {
    case "message.edited":
      return { ...message, data: { ...data, body: event.data.body, version: event.data.version, edited_at: event.at } };
    case "message.deleted":
      return { ...message, data: { deleted: true }, erased: true };
    default:
      return { ...message, data: { ...data, reactions: reacted(data.reactions ?? [], event, me) } };
  }
}

function reacted(reactions, event, me) {
  const { emoji } = event.data;
  const by = event.type === "reaction.added" ? 1 : -1;
  const known = reactions.find((one) => one.emoji === emoji) ?? { emoji, count: 0 };
  const mine = event.actor.id === me ? by > 0 : Boolean(known.mine);
  const rest = reactions.filter((one) => one !== known);
  if (known.count + by > 0) rest.push({ ...known, count: known.count + by, mine });
  return rest.sort((a, b) => (a.emoji < b.emoji ? -1 : 1));
}
