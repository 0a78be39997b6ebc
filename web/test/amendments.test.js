import assert from "node:assert/strict";
import { test } from "node:test";

import { Store } from "../public/js/store.js";
import { buildTimeline } from "../public/js/timeline.js";
import { Typing, TYPING_MS, typingLine } from "../public/js/typing.js";

const ME = { id: "u-me", name: "Me" };
const ADA = { id: "u-ada", name: "Ada" };
const AT = "2030-01-01T10:00:00Z";

function event(sequence, type = "message.sent", data = { body: `text ${sequence}` }, actor = ADA) {
  return { type, room: "r1", sequence, event_id: `e${sequence}`, at: AT, actor, data };
}

function joined(last = 0) {
  const store = new Store(ME.id);
  store.takeList({ rooms: [{ id: "r1", name: "design", kind: "public", head: last, joined: true, members: 2 }], more: false });
  return store;
}

function rows(store) {
  return buildTimeline(store.rooms.get("r1"), ME).filter(({ kind }) => kind !== "day");
}

test("an edit, reactions and a deletion change the message they are about", () => {
  const store = joined();
  store.apply(event(1));
  store.apply(event(2, "message.edited", { message: 1, body: "better", version: 2 }));
  store.apply(event(3, "reaction.added", { message: 1, emoji: "👍" }));
  store.apply(event(4, "reaction.added", { message: 1, emoji: "👍" }, ME));
  store.apply(event(5, "reaction.added", { message: 1, emoji: "🎉" }));
  store.apply(event(6, "reaction.removed", { message: 1, emoji: "🎉" }));
  assert.deepEqual(rows(store).map(({ body, edited, reactions }) => [body, edited, reactions]), [
    ["better", true, [{ emoji: "👍", count: 2, users: [ADA, ME], mine: true }]],
  ]);
  store.apply(event(7, "message.deleted", { message: 1 }));
  assert.deepEqual(rows(store).map(({ text }) => text), ["A message was deleted"]);
  assert.equal(JSON.stringify(store.rooms.get("r1").events[0]).includes("text 1"), false);
});

test("what a page of history already knows is not counted again", () => {
  const store = joined(4);
  store.reset("r1", null);
  const page = [event(1), event(3, "message.sent", { body: "b", reactions: [{ emoji: "👍", count: 1 }] })];
  store.merge("r1", page, false, { head: 4 });
  assert.equal(store.apply(event(4, "reaction.added", { message: 3, emoji: "👍" })), "duplicate");
  assert.equal(store.apply(event(5, "reaction.added", { message: 3, emoji: "👍" })), "applied");
  assert.equal(rows(store).at(-1).reactions[0].count, 2);
});

test("an older page that leaves amendments out is taken, and is as of its head", () => {
  const store = joined(9);
  store.apply(event(10));
  const edit = event(11, "message.edited", { message: 7, body: "edited", version: 2 });
  const reaction = event(12, "reaction.added", { message: 7, emoji: "👍" });
  store.apply(edit);
  store.apply(reaction);
  assert.equal(store.olderThan("r1"), 10);
  // The page was read before the reaction. 8 and 9 were no messages.
  const older = event(7, "message.sent", { body: "edited", version: 2, edited_at: AT });
  store.merge("r1", [older], true, { asked: 10, head: 11, before: 5 });
  assert.deepEqual(rows(store).map(({ body, reactions }) => [body, reactions.length]), [["edited", 1], ["text 10", 0]]);
  assert.equal(store.olderThan("r1"), 5);
});

test("who types is forgotten after a while, or with their message", () => {
  const typing = new Typing();
  typing.heard("r1", "u-ada", 0);
  typing.heard("r1", "u-bob", 1000);
  assert.deepEqual(typing.users("r1", TYPING_MS - 1), ["u-ada", "u-bob"]);
  assert.deepEqual(typing.users("r1", TYPING_MS), ["u-bob"]);
  typing.stopped("r1", "u-bob");
  assert.deepEqual(typing.users("r1", TYPING_MS), []);
  assert.deepEqual([0, 1999, 2000].map((now) => typing.tells("r1", now)), [true, false, true]);
  assert.deepEqual([[], ["Ada"], ["Ada", "Bob"], ["a", "b", "c"]].map(typingLine), [
    "", "Ada is typing…", "Ada and Bob are typing…", "Several people are typing…",
  ]);
});

test("an answer quotes what it answers, also after an edit and when that is gone", () => {
  const store = joined();
  store.apply(event(1));
  store.apply(event(2, "message.sent", { body: "yes", reply_to: 1 }, ME));
  const quote = () => store.rooms.get("r1").events.find(({ sequence }) => sequence === 2).data.quote;
  assert.deepEqual(quote(), { sequence: 1, actor: ADA, body: "text 1" });
  store.apply(event(3, "message.edited", { message: 1, body: "better", version: 2 }));
  assert.equal(quote().body, "better");
  store.apply(event(4, "message.deleted", { message: 1 }));
  assert.deepEqual(quote(), { sequence: 1, deleted: true });
});

test("a thread counts its replies, says who follows, and outlives its first message", () => {
  const store = joined();
  const root = () => store.rooms.get("r1").events[0];
  store.apply(event(1));
  store.apply(event(2, "message.sent", { body: "reply", thread: 1 }));
  store.apply(event(3, "thread.followed", { thread: 1, user: { id: ME.id } }));
  store.apply(event(4, "thread.followed", { thread: 1, user: { id: ADA.id } }));
  assert.deepEqual(root().data.thread, { replies: 1, last_at: AT, following: true });
  store.apply(event(5, "message.deleted", { message: 1 }));
  store.apply(event(6, "message.sent", { body: "another", thread: 1 }));
  assert.deepEqual([root().data.deleted, root().data.thread.replies, root().erased], [true, 2, true]);
});

test("pins come and go, and nothing is said of what is erased", () => {
  const store = joined();
  const pinned = () => store.rooms.get("r1").events[0].data.pinned;
  store.apply(event(1));
  store.apply(event(2, "message.pinned", { message: 1 }));
  assert.equal(pinned(), true);
  store.apply(event(3, "message.unpinned", { message: 1 }));
  assert.equal(pinned(), false);
  store.apply({ ...event(4, "message.edited", {}), erased: true });
  assert.equal(store.rooms.get("r1").events[0].data.body, "text 1");
});
