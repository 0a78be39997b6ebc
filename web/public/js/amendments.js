/**
 * What became of messages: edits, deletions, reactions, pins, answers and threads, applied to the list of a room's
 * events. Pure. A message that came in a page of history has `as_of`, the sequence up to which the page knew.
 */

const QUOTED = 300;
const NAMED = 5;

/** A message as the page of history would show it: with its version, and a quote of what it answers if that is known. */
export function prepared(event, events) {
  if (event.type !== "message.sent" || event.erased) return event;
  const data = { version: 1, ...event.data };
  const answered = data.reply_to && !data.quote && events.find(({ sequence }) => sequence === data.reply_to);
  if (answered) data.quote = quoteOf(answered);
  return { ...event, data };
}

/** Applies an event to the messages it is about, if they are among `events`. Returns the list, a new one if it changed. */
export function amend(events, event, me) {
  const { data } = event;
  switch (event.type) {
    case "message.sent":
      return data.thread ? change(events, data.thread, event, (root) => withReply(root, event)) : events;
    case "message.edited":
      if (event.erased) return events;
      return quoteAgain(change(events, data.message, event, (message) => edited(message, event)), data.message, event);
    case "message.deleted":
      return quoteAgain(change(events, data.message, event, deleted), data.message, event);
    case "message.pinned":
    case "message.unpinned":
      return change(events, data.message, event, (message) => withData(message, { pinned: event.type === "message.pinned" }));
    case "reaction.added":
    case "reaction.removed":
      return event.erased ? events : change(events, data.message, event, (message) => reacted(message, event, me));
    case "thread.followed":
    case "thread.unfollowed":
      if (event.erased || data.user?.id !== me) return events;
      return change(events, data.thread, event, (root) => withThread(root, { following: event.type === "thread.followed" }));
    default:
      return events;
  }
}

/** What is shown of a message in those that answer it. */
export function quoteOf({ sequence, actor, data, erased }) {
  return erased ? { sequence, deleted: true } : { sequence, actor, body: [...data.body].slice(0, QUOTED).join("") };
}

function change(events, sequence, event, amended) {
  const index = events.findIndex((one) => one.sequence === sequence && one.type === "message.sent");
  const message = events[index];
  if (!message || event.sequence <= (message.as_of ?? 0)) return events;
  // A deleted root still counts its replies; all else is gone with the text.
  if (message.erased && event.type !== "message.sent") return events;
  return events.with(index, amended(message));
}

function withData(message, fields) {
  return { ...message, data: { ...message.data, ...fields } };
}

function edited(message, event) {
  const { body, version } = event.data;
  return withData(message, { body, version, edited_at: event.at });
}

function deleted(message) {
  const { thread } = message.data;
  return { ...message, data: { deleted: true, ...(thread && { thread }) }, id: "", erased: true };
}

function quoteAgain(events, sequence, event) {
  const answered = events.find((one) => one.sequence === sequence);
  if (!answered) return events;
  const stale = (one) => one.data?.quote?.sequence === sequence && event.sequence > (one.as_of ?? 0);
  if (!events.some(stale)) return events;
  return events.map((one) => (stale(one) ? withData(one, { quote: quoteOf(answered) }) : one));
}

function withThread(root, fields) {
  return withData(root, { thread: { replies: 0, ...root.data.thread, ...fields } });
}

function withReply(root, event) {
  return withThread(root, { replies: (root.data.thread?.replies ?? 0) + 1, last_at: event.at });
}

function reacted(message, event, me) {
  const { emoji } = event.data;
  const added = event.type === "reaction.added";
  const reactions = message.data.reactions ?? [];
  const known = reactions.find((one) => one.emoji === emoji) ?? { emoji, count: 0, users: [] };
  const users = (known.users ?? []).filter(({ id }) => id !== event.actor.id);
  // Five are named. Who comes sixth is not, though one of the five may have left: somebody else is fifth by now.
  if (added && users.length === known.count && users.length < NAMED) users.push(event.actor);
  const count = known.count + (added ? 1 : -1);
  const mine = event.actor.id === me ? added : Boolean(known.mine);
  const rest = reactions.filter((one) => one !== known);
  if (count > 0) rest.push({ ...known, count, users, mine });
  return withData(message, { reactions: rest.sort((a, b) => (a.emoji < b.emoji ? -1 : 1)) });
}
