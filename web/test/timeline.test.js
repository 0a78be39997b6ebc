import assert from "node:assert/strict";
import { test } from "node:test";

import { buildTimeline, describeEvent } from "../public/js/timeline.js";

const ME = { id: "u-me", name: "Me" };
const ADA = { id: "u-ada", name: "Ada" };

function message(sequence, at, actor = ADA) {
  return { type: "message.sent", room: "r1", sequence, event_id: `e${sequence}`, at, actor, data: { body: `text ${sequence}` } };
}

function timeline(events, { pending = [], unseen = null } = {}) {
  return buildTimeline({ events, pending }, ME, unseen);
}

test("messages of one author close in time form a group", () => {
  const rows = timeline([
    message(1, "2030-01-01T10:00:00"),
    message(2, "2030-01-01T10:01:00"),
    message(3, "2030-01-01T10:09:00"),
    message(4, "2030-01-01T10:09:30", ME),
  ]).filter(({ kind }) => kind === "message");
  assert.deepEqual(rows.map(({ opens, closes }) => [opens, closes]), [[true, false], [false, true], [true, true], [true, true]]);
});

test("each day begins with a separator", () => {
  const rows = timeline([message(1, "2030-01-01T23:59:00"), message(2, "2030-01-02T00:01:00"), message(3, "2030-01-02T00:02:00")]);
  assert.deepEqual(rows.map(({ kind }) => kind), ["day", "message", "day", "message", "message"]);
});

test("the unread line stands once, before the first message of someone else that was not seen", () => {
  const events = [message(1, "2030-01-01T10:00:00"), message(2, "2030-01-01T10:00:01", ME), message(3, "2030-01-01T10:00:02"), message(4, "2030-01-01T10:00:03")];
  const rows = timeline(events, { unseen: { from: 2, to: 4 } });
  assert.deepEqual(rows.map(({ key }) => key).slice(1), ["e1", "e2", "unread", "e3", "e4"]);
});

test("a message that came after the room was opened is not set off as unread", () => {
  const events = [message(1, "2030-01-01T10:00:00", ME), message(2, "2030-01-01T10:00:01")];
  assert.ok(!timeline(events, { unseen: { from: 1, to: 1 } }).some(({ kind }) => kind === "unread"));
});

test("pending messages come last", () => {
  const pending = [{ id: "c2", body: "b", at: "2030-01-01T10:00:00", state: "failed", error: "No." }];
  const rows = timeline([message(1, "2030-01-01T10:00:00", ME)], { pending });
  assert.deepEqual(rows.map(({ key }) => key).slice(1), ["e1", "c2"]);
  assert.deepEqual([rows.at(-1).state, rows.at(-1).error, rows.at(-1).mine], ["failed", "No.", true]);
});

test("an unknown event type takes no row", () => {
  assert.deepEqual(timeline([{ ...message(1, "2030-01-01T10:00:00"), type: "something.new" }]), []);
});

test("comings and goings are told in a sentence", () => {
  const told = (type, data, actor = ADA) => describeEvent({ type, data, actor });
  assert.equal(told("room.created", { name: "design", kind: "public" }), "Ada created the room");
  assert.equal(told("member.joined", { user: ADA }), "Ada joined");
  assert.equal(told("member.joined", { user: ME }), "Ada added Me");
  assert.equal(told("member.left", { user: ADA }), "Ada left");
  assert.equal(told("member.invited", { user: ME }), "Ada invited Me");
  assert.equal(told("member.invited", { user: { id: "u-x" } }), "Ada invited someone");
  assert.equal(told("member.joined", { user: ADA, role: "owner" }), "Ada joined and is the owner now");
  assert.equal(told("member.changed", { user: ME, role: "owner" }), "Me is the owner now");
  assert.equal(told("member.changed", { user: ADA, role: "member" }), null);
  assert.equal(told("room.archived", { reason: "done" }), "The room was closed: done");
});

test("who is named by id alone is called as members are, or as this user", () => {
  const joined = { ...message(1, "2030-01-01T10:00:00"), type: "member.joined" };
  const told = (id, members) => {
    const rows = buildTimeline({ events: [{ ...joined, data: { user: { id } } }], pending: [], members }, ME);
    return rows.at(-1).text;
  };
  assert.equal(told(ME.id), "Ada added Me");
  assert.equal(told("u-x", new Map([["u-x", { name: "Xi" }]])), "Ada added Xi");
  assert.equal(told("u-x"), "Ada added someone");
});

test("an erased message is one line, and other erased events are none", () => {
  const erased = { actor: { id: "" }, data: {}, id: "", erased: true };
  const rows = timeline([
    { ...message(1, "2030-01-01T10:00:00"), ...erased },
    { ...message(2, "2030-01-01T10:00:01"), ...erased, type: "member.left" },
  ]);
  assert.deepEqual(rows.map(({ kind, text }) => text ?? kind), ["day", "A message was erased"]);
});
