import assert from "node:assert/strict";
import { test } from "node:test";

import { KEEP, Store } from "../public/js/store.js";

const ME = { id: "u-me", name: "Me" };
const ADA = { id: "u-ada", name: "Ada" };

function event(sequence, { type = "message.sent", actor = ADA, data = { body: `text ${sequence}` }, room = "r1" } = {}) {
  return { type, room, sequence, event_id: `e${sequence}`, at: "2030-01-01T10:00:00Z", actor, data };
}

function info(more = {}) {
  return { id: "r1", name: "design", kind: "public", archived: false, head: 0, members: 2, joined: true, invited: false, ...more };
}

function storeAt(head, listed = {}) {
  const store = new Store(ME.id);
  store.takeList({ rooms: [info({ head, read: head, unread: 0, mentions: 0, ...listed })], more: false });
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

function unreadIn(store) {
  const { unread, mentions } = store.rooms.get("r1");
  return [unread, mentions];
}

test("messages of others are unread, and who writes has read", () => {
  const store = storeAt(4);
  store.apply(event(5));
  store.apply(event(6, { type: "member.joined", data: { user: ADA } }));
  store.apply(event(7, { data: { body: "@Me", mentions: [ME.id] } }));
  store.apply(event(8, { data: { body: "@all", mention_all: true } }));
  assert.deepEqual(unreadIn(store), [3, 2]);
  assert.equal(store.markRead("r1", 7), true);
  assert.deepEqual(unreadIn(store), [1, 1]);
  assert.equal(store.markRead("r1", 8), true);
  assert.equal(store.markRead("r1", 8), false);
  assert.deepEqual(unreadIn(store), [0, 0]);
  store.apply(event(9));
  store.apply(event(10, { actor: ME }));
  assert.deepEqual(unreadIn(store), [0, 0]);
});

test("the server's count is gone on from, and what it has counted is not counted again", () => {
  const store = storeAt(20, { read: 12, unread: 5, mentions: 1 });
  assert.deepEqual(store.cursors(), { r1: 20 });
  store.apply(event(21));
  assert.deepEqual(unreadIn(store), [6, 1]);
  // A newer list has counted 21 and 22; 22 comes live after it.
  store.takeList({ rooms: [info({ head: 22, read: 12, unread: 7, mentions: 1 })], more: false });
  store.apply(event(22));
  assert.deepEqual(unreadIn(store), [7, 1]);
  // A list that was asked for before says nothing new.
  store.takeList({ rooms: [info({ head: 21, read: 12, unread: 6, mentions: 1 })], more: false });
  assert.deepEqual(unreadIn(store), [7, 1]);
});

test("what was read here and not told yet is not undone by a list", () => {
  const store = storeAt(20, { read: 12, unread: 5 });
  store.markRead("r1", 20);
  store.takeList({ rooms: [info({ head: 20, read: 12, unread: 5 })], more: false }, new Set(["r1"]));
  assert.deepEqual(unreadIn(store), [0, 0]);
  store.takeList({ rooms: [info({ head: 20, read: 20, unread: 0 })], more: false });
  assert.equal(store.rooms.get("r1").read, 20);
});

test("reading on another device counts, forward alone unless it is set back", () => {
  const store = storeAt(20, { read: 12, unread: 5 });
  store.apply(event(21));
  store.readElsewhere({ room: "r1", sequence: 20, unread: 1 });
  assert.deepEqual(unreadIn(store), [1, 0]);
  store.readElsewhere({ room: "r1", sequence: 15, unread: 4 });
  assert.equal(store.rooms.get("r1").read, 20);
  store.readElsewhere({ room: "r1", sequence: 15, unread: 4, back: true });
  assert.deepEqual([store.rooms.get("r1").read, ...unreadIn(store)], [15, 4, 0]);
});

test("rooms are listed by activity, the closed ones last", () => {
  const store = new Store(ME.id);
  const rooms = [["r1", "2030-01-01T09:00:00Z"], ["r2", "2030-01-01T11:00:00Z"], ["r3", "2030-01-01T12:00:00Z"]];
  store.takeList({ rooms: rooms.map(([id, active_at]) => info({ id, active_at, archived: id === "r3" })), more: false });
  const order = () => store.joined().map(({ id }) => id);
  assert.deepEqual(order(), ["r2", "r1", "r3"]);
  store.apply({ ...event(1), at: "2030-01-01T11:30:00Z" });
  assert.deepEqual(order(), ["r1", "r2", "r3"]);
  assert.equal(store.rooms.get("r1").preview.text, "text 1");
});

test("a direct room is called as its other people are, and stays though no list has it yet", () => {
  const store = new Store(ME.id);
  store.meet(ADA);
  const room = store.addJoined(info({ id: "d1", name: "", kind: "direct", users: [ME.id, ADA.id] }), 1);
  assert.equal(store.titleOf(room), "Ada");
  assert.equal(store.titleOf({ ...room, users: [ME.id] }), "Notes to yourself");
  store.takeList({ rooms: [], more: false });
  assert.equal(store.rooms.has("d1"), true);
});

test("who is muted knows it from the history, and when it ends", () => {
  const store = storeAt(4);
  store.reset("r1", null);
  const muted = event(3, { type: "member.muted", data: { user: ME, until: "2030-01-01T11:00:00Z" } });
  store.merge("r1", [muted, event(4)], false, { head: 4 });
  assert.deepEqual(store.rooms.get("r1").muted, { until: "2030-01-01T11:00:00Z" });
  store.apply(event(5, { type: "member.unmuted", data: { user: ME } }));
  assert.equal(store.rooms.get("r1").muted, null);
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

test("what the list shows of a message goes with its text", () => {
  const store = storeAt(4);
  const preview = () => store.rooms.get("r1").preview;
  store.apply(event(5));
  store.apply(event(6, { type: "message.edited", data: { message: 5, body: "better", version: 2 } }));
  assert.equal(preview().text, "better");
  store.apply(event(7, { type: "message.deleted", data: { message: 5 } }));
  assert.equal(preview(), null);
});
