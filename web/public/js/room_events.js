/** What events change of a room besides being in its list. Pure; unknown types change nothing, which keeps old pages working. */

import { amend } from "./amendments.js";
import { countMessage } from "./unread.js";

/** Characters of the last message that a list shows. */
const PREVIEWED = 200;

/** Applies one event to what is known of its room. */
export function evolve(room, event, me) {
  countMessage(room, event, me);
  room.events = amend(room.events, event, me);
  if (event.data?.message === room.preview?.sequence) previewAgain(room, event);
  if (event.erased) return; // it does not say any more what else it changed
  const user = event.data?.user ?? event.actor;
  noteMute(room, event, me);
  switch (event.type) {
    case "events.erased":
      return eraseEvents(room, event.data.ranges);
    case "member.joined":
    case "member.changed":
      return setMember(room, { ...user, ...roleIn(event), state: "joined" });
    case "member.invited":
      return setMember(room, { ...user, state: "invited" });
    case "member.left":
    case "member.removed":
      return dropMember(room, user, me);
    case "room.archived":
    case "room.unarchived":
      room.archived = event.type === "room.archived";
      return undefined;
    case "room.updated":
      return describeAgain(room, event.data);
    case "message.sent":
      return messageCame(room, event, me);
    default:
      return undefined;
  }
}

/** Notes that this user was muted, or may write again. */
export function noteMute(room, { type, data }, me) {
  if (data?.user?.id !== me) return;
  if (type === "member.muted") room.muted = { until: data.until ?? null };
  else if (type === "member.unmuted") room.muted = null;
}

/** Takes in a complete list's count; otherwise the number the server told last stands until it tells the next. */
export function countMembers(room) {
  if (!room.members || room.membersCut) return;
  room.memberCount = [...room.members.values()].filter((member) => member.state === "joined").length;
}

function messageCame(room, event, me) {
  room.activeAt = event.at;
  room.preview = { sequence: event.sequence, actor: event.actor, text: event.data.body.slice(0, PREVIEWED) };
  room.fresh = false;
  // An own event may overtake its ack; it carries the id that its message was sent under.
  if (event.actor.id === me) room.pending = room.pending.filter((message) => message.id !== event.id);
}

/** What a list shows of the last message goes with its text. */
function previewAgain(room, { type, data, erased }) {
  if (type === "message.deleted") room.preview = null;
  else if (type === "message.edited" && !erased) room.preview = { ...room.preview, text: data.body.slice(0, PREVIEWED) };
}

/** The event has only what changed. */
function describeAgain(room, { name = room.name, topic = room.topic, slow_seconds: slowSeconds = room.slowSeconds }) {
  Object.assign(room, { name, topic, slowSeconds });
}

/** What was shown so far of events that were erased is forgotten. */
function eraseEvents(room, ranges) {
  const erased = ({ sequence }) => ranges.some(([first, last]) => first <= sequence && sequence <= last);
  const rest = { actor: { id: "" }, data: {}, id: "", erased: true };
  room.events = room.events.map((event) => {
    if (erased(event)) return { ...event, ...rest };
    const quote = event.data?.quote;
    return quote && erased(quote) ? { ...event, data: { ...event.data, quote: { sequence: quote.sequence, deleted: true } } } : event;
  });
  if (room.preview && erased(room.preview)) room.preview = null;
}

function roleIn({ data }) {
  return data?.role ? { role: data.role } : {};
}

function setMember(room, member) {
  const known = room.members?.get(member.id);
  const name = member.name ?? known?.name ?? member.id;
  room.members?.set(member.id, { role: "member", ...known, ...member, name });
  countMembers(room);
}

function dropMember(room, user, me) {
  if (user.id === me) room.joined = false;
  room.members?.delete(user.id);
  countMembers(room);
}
