import assert from "node:assert/strict";
import { test } from "node:test";

import { KEEP, MOST_CAUGHT_UP, Store } from "../public/js/store.js";

const ME = { id: "u-me", name: "Me" };
const ADA = { id: "u-ada", name: "Ada" };

function event(sequence, { type = "message.sent", actor = ADA, data = { body: `text ${sequence}` }, room = "r1" } = {}) {
  return { type, room, sequence, event_id: `e${sequence}`, at: "2030-01-01T10:00:00Z", actor, data };
}

function info(more = {}) {
  return { id: "r1", name: "design", kind: "public", archived: false, head: 0, members: 2, joined: true, invited: false, ...more };
}

function storeAt(head, mark = head) {
  const store = new Store(ME.id);
  store.takeList({ rooms: [info({ head })], more: false }, { r1: mark });
  return store;
}

function sequences(store) {
  return store.rooms.get("r1").events.map(({ sequence }) => sequence);
}

test("an event that follows the last one is applied", () => {
  const store = storeAt(4);
  assert.equal(store.apply(event(5)), "applied");
  assert.deepEqual(sequences(store), [5]);
  assert.deepEqual(store.cursors(), { r1: 5 });
});

test("an event that was seen before is a duplicate and changes nothing", () => {
  const store = storeAt(4);
  store.apply(event(5));
  assert.equal(store.apply(event(5)), "duplicate");
  assert.equal(store.apply(event(3)), "duplicate");
  assert.deepEqual(sequences(store), [5]);
});

test("an event after a missing one is a gap and is not shown out of order", () => {
  const store = storeAt(4);
  assert.equal(store.apply(event(7)), "gap");
  assert.deepEqual(store.cursors(), { r1: 4 });
  for (const sequence of [5, 6, 7]) assert.equal(store.apply(event(sequence)), "applied");
  assert.deepEqual(sequences(store), [5, 6, 7]);
});

test("an event of a room that is not ours is unknown", () => {
  const store = storeAt(4);
  assert.equal(store.apply(event(1, { room: "other" })), "unknown");
});

test("older history goes before what is there, whatever overlaps", () => {
  const store = storeAt(9);
  store.apply(event(10));
  store.merge("r1", [7, 8, 9, 10].map((sequence) => event(sequence)), true);
  assert.deepEqual(sequences(store), [7, 8, 9, 10]);
  assert.equal(store.rooms.get("r1").more, true);
  store.merge("r1", [5, 6].map((sequence) => event(sequence)), false);
  assert.deepEqual(sequences(store), [5, 6, 7, 8, 9, 10]);
  assert.equal(store.rooms.get("r1").more, false);
});

test("history that would leave a hole before what is there is not taken", () => {
  const store = storeAt(9);
  store.apply(event(10));
  store.merge("r1", [event(6), event(7)], true);
  assert.deepEqual(sequences(store), [10]);
});

test("the first page of a room just joined gives it its place in the order", () => {
  const store = new Store(ME.id);
  store.addJoined(info());
  assert.deepEqual(store.cursors(), {});
  store.merge("r1", [1, 2, 3].map((sequence) => event(sequence)), false);
  assert.deepEqual(store.cursors(), { r1: 3 });
  assert.equal(store.apply(event(3)), "duplicate");
  assert.equal(store.apply(event(4)), "applied");
});

test("an event that comes before the first page of a room just joined fits in with it", () => {
  const store = new Store(ME.id);
  store.addJoined(info());
  assert.equal(store.apply(event(5)), "applied");
  store.merge("r1", [3, 4, 5].map((sequence) => event(sequence)), true);
  assert.deepEqual(sequences(store), [3, 4, 5]);
});

test("a reset drops the local copy and goes on from the sequence it names", () => {
  const store = storeAt(4);
  store.apply(event(5));
  store.reset("r1", 5000);
  assert.deepEqual(sequences(store), []);
  assert.equal(store.apply(event(5001)), "applied");
  assert.equal(store.rooms.get("r1").more, true);
});

test("messages of others are unread, own ones and other events are not", () => {
  const store = storeAt(4);
  store.apply(event(5));
  store.apply(event(6, { actor: ME }));
  store.apply(event(7, { type: "member.joined", data: { user: ADA } }));
  store.apply(event(8));
  assert.equal(store.unread("r1"), 2);
  assert.equal(store.markRead("r1", 8), true);
  assert.equal(store.markRead("r1", 8), false);
  assert.equal(store.unread("r1"), 0);
});

test("a read mark makes the next connect fetch what came after it", () => {
  assert.deepEqual(storeAt(20, 15).cursors(), { r1: 15 });
});

test("a read mark far behind is counted and not caught up with", () => {
  const head = MOST_CAUGHT_UP + 100;
  const store = storeAt(head, 10);
  assert.deepEqual(store.cursors(), { r1: head });
  assert.equal(store.unread("r1"), head - 10);
});

test("a trimmed room keeps its newest events and can load the older again", () => {
  const store = storeAt(0);
  for (let sequence = 1; sequence <= KEEP + 10; sequence += 1) store.apply(event(sequence));
  store.trim("r1");
  assert.equal(sequences(store).length, KEEP);
  assert.equal(sequences(store)[0], 11);
  assert.equal(store.rooms.get("r1").more, true);
});

test("a pending message gives way to its event when the ack comes first", () => {
  const store = storeAt(4);
  store.addPending("r1", { id: "c1", body: "hello", at: "2030-01-01T10:00:00Z" });
  store.settle("r1", "c1", { event_id: "e5", sequence: 5, at: "2030-01-01T10:00:01Z" });
  assert.equal(store.rooms.get("r1").pending[0].state, "accepted");
  store.apply({ ...event(5, { actor: ME, data: { body: "hello" } }), id: "c1" });
  assert.deepEqual(store.rooms.get("r1").pending, []);
});

test("a pending message gives way to its event, which may overtake the ack", () => {
  const store = storeAt(4);
  store.addPending("r1", { id: "c1", body: "hello", at: "2030-01-01T10:00:00Z" });
  store.apply({ ...event(5, { actor: ME, data: { body: "hello" } }), id: "c1" });
  assert.deepEqual(store.rooms.get("r1").pending, []);
  store.settle("r1", "c1", { event_id: "e5", sequence: 5, at: "2030-01-01T10:00:01Z" });
  assert.deepEqual(store.rooms.get("r1").pending, []);
});

test("the same text sent from another tab does not swallow a pending message", () => {
  const store = storeAt(4);
  store.addPending("r1", { id: "c1", body: "hello", at: "2030-01-01T10:00:00Z" });
  store.apply({ ...event(5, { actor: ME, data: { body: "hello" } }), id: "of another tab" });
  assert.equal(store.rooms.get("r1").pending[0].state, "pending");
});

test("ownership that is passed on, and that comes with an empty room, is known", () => {
  const store = storeAt(4);
  const roles = () => Object.fromEntries([...store.rooms.get("r1").members.values()].map(({ id, role }) => [id, role]));
  store.setMembers("r1", [{ ...ME, role: "owner", state: "joined" }, { ...ADA, role: "member", state: "joined" }]);
  store.apply(event(5, { type: "member.changed", actor: ME, data: { user: ADA, role: "owner" } }));
  store.apply(event(6, { type: "member.changed", actor: ME, data: { user: ME, role: "member" } }));
  assert.deepEqual(roles(), { "u-me": "member", "u-ada": "owner" });
  store.apply(event(7, { type: "member.joined", actor: { id: "u-bob", name: "Bob" }, data: { user: { id: "u-bob", name: "Bob" }, role: "owner" } }));
  assert.equal(roles()["u-bob"], "owner");
});

test("members are counted as they come and go, the invited not", () => {
  const store = storeAt(4);
  store.setMembers("r1", [{ ...ME, role: "owner", state: "joined" }]);
  store.apply(event(5, { type: "member.invited", actor: ME, data: { user: { id: "u-bob" } } }));
  assert.equal(store.rooms.get("r1").memberCount, 1);
  store.apply(event(6, { type: "member.joined", data: { user: ADA } }));
  assert.equal(store.rooms.get("r1").memberCount, 2);
  store.apply(event(7, { type: "member.left", data: { user: ADA } }));
  assert.equal(store.rooms.get("r1").memberCount, 1);
  assert.equal(store.rooms.get("r1").members.get("u-bob").state, "invited");
});

test("leaving a room, also from another tab, forgets it", () => {
  const store = storeAt(4);
  store.apply(event(5, { type: "member.left", actor: ME, data: { user: ME } }));
  assert.equal(store.rooms.size, 0);
});

test("a new list keeps what is known, adds what is new and drops what is gone", () => {
  const store = storeAt(4);
  store.apply(event(5));
  const invitation = info({ id: "r2", name: "plan", kind: "private", joined: false, invited: true });
  store.takeList({ rooms: [info({ head: 5, name: "design team" }), invitation], more: false });
  assert.deepEqual(sequences(store), [5]);
  assert.equal(store.rooms.get("r1").name, "design team");
  assert.deepEqual(store.invitations().map(({ id }) => id), ["r2"]);
  store.takeList({ rooms: [invitation], more: true });
  assert.equal(store.joined().length, 1);
  store.takeList({ rooms: [invitation], more: false });
  assert.equal(store.joined().length, 0);
});

test("an archived room is known to be closed, and an unknown event type only keeps its place", () => {
  const store = storeAt(4);
  store.apply(event(5, { type: "something.new" }));
  store.apply(event(6, { type: "room.archived", data: { reason: "done" } }));
  assert.equal(store.rooms.get("r1").archived, true);
  assert.deepEqual(store.cursors(), { r1: 6 });
});

test("events that were erased keep their place and nothing else", () => {
  const store = storeAt(4);
  store.apply(event(5));
  store.apply(event(6));
  store.apply(event(7, { type: "events.erased", actor: { id: "" }, data: { ranges: [[1, 5]] } }));
  const [erased, kept] = store.rooms.get("r1").events;
  assert.deepEqual([erased.sequence, erased.data, erased.actor, erased.erased], [5, {}, { id: "" }, true]);
  assert.equal(kept.data.body, "text 6");
  const left = { ...event(8, { type: "member.left", actor: { id: "" }, data: {} }), erased: true };
  assert.equal(store.apply(left), "applied");
});
