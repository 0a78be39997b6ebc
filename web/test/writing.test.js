import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";

import { format, plainText } from "../public/js/formatting.js";
import { mentionAt, mentionsIn, offered } from "../public/js/mentions.js";
import { sha256 } from "../public/js/sha256.js";
import { slashAt, slashName, slashOptions, slashUsage } from "../public/js/slash.js";
import { sizeText } from "../public/js/uploads.js";

const ME = { id: "u-me", name: "Me", state: "joined" };
const ANN = { id: "u-ann", name: "Ann", state: "joined" };
const ANN_LEE = { id: "u-lee", name: "Ann Lee", state: "joined" };
const MEMBERS = [ME, ANN, ANN_LEE, { id: "u-out", name: "Anton", state: "invited" }];

test("what people mark is shown so, and nothing else changes", () => {
  const inline = (text) => format(text).flatMap(({ parts }) => parts.map((part) => [part.style ?? "", part.text]));
  assert.deepEqual(inline("a **b** _c_ *d* ~~e~~ `f_g_`"), [["", "a "], ["strong", "b"], ["", " "], ["em", "c"], ["", " "], ["em", "d"], ["", " "], ["del", "e"], ["", " "], ["code", "f_g_"]]);
  for (const text of ["snake_case_name", "2 * 3 * 4", "**", "a ` b", "__", "~~~~"]) assert.deepEqual(inline(text), [["", text]]);
});

test("fences, quotes and lines are blocks; marks and addresses in code stay text", () => {
  const blocks = format("before\n```js\nlet **x** = `1`;\n```\n> said\n> so\nafter");
  assert.deepEqual(blocks.map(({ kind, text, parts }) => [kind, text ?? parts.map((part) => part.text).join("")]), [
    ["text", "before"], ["code", "let **x** = `1`;"], ["quote", "said\nso"], ["text", "after"],
  ]);
  assert.deepEqual(format("`https://example.org`")[0].parts.map(({ text }) => text).join(""), "`https://example.org`");
  assert.equal(plainText("a\n```\nb\n```"), "a b");
});

test("names of those who are mentioned are set off, the reader's own most", () => {
  const [{ parts }] = format("@Ann Lee and @ann, not @anna or `@Ann`", { names: ["Ann", "Ann Lee"], mine: "ann" });
  assert.deepEqual(parts.filter(({ mention }) => mention).map(({ text, mention }) => [text, mention]), [["@Ann Lee", "other"], ["@ann", "me"]]);
});

test("hostile texts are taken apart in reasonable time", () => {
  const started = performance.now();
  for (const text of ["*", "_", "`", "~~", "```", ">", "@", "**a", "_a "].map((piece) => piece.repeat(20_000))) {
    format(text, { names: ["a"] });
    mentionsIn(text, MEMBERS, { me: ME.id });
  }
  assert.ok(performance.now() - started < 3_000);
});

test("a name that is being written is found at the caret", () => {
  assert.deepEqual(mentionAt("hi @an", 6), { from: 3, query: "an" });
  assert.equal(mentionAt("mail@example", 12), null);
  assert.equal(mentionAt("hi @an there", 12), null);
  const names = (query, everybody) => offered(query, MEMBERS, { me: ME.id, everybody }).map(({ name }) => name);
  assert.deepEqual(names("a", true), ["Ann", "Ann Lee", "all"]);
  assert.deepEqual(names("lee", false), ["Ann Lee"]);
});

test("whom a text mentions: the longest name, not in code or quotes, everybody where one may", () => {
  const found = (text, everybody = false) => mentionsIn(text, MEMBERS, { me: ME.id, everybody });
  assert.deepEqual(found("@Ann Lee, look"), { mentions: ["u-lee"] });
  assert.deepEqual(found("@ann and @ANN LEE"), { mentions: ["u-lee", "u-ann"] });
  for (const text of ["`@Ann`", "```\n@Ann\n```", "> @Ann", "@Anna", "x@Ann", "@Me", "@Anton"]) assert.deepEqual(found(text), {});
  assert.deepEqual(found("@all"), {});
  assert.deepEqual(found("@all and @here", true), { mention_all: true, mention_here: true });
});

test("slash commands: what is written of a name, and what a whole one says", () => {
  assert.deepEqual([slashAt("/po", 3), slashAt("/poll x", 7), slashAt("a /po", 5), slashName("/poll x"), slashName("/ x")], ["po", null, null, "poll", null]);
  const poll = { name: "poll", options: [{ name: "question", type: "string", required: true }, { name: "votes", type: "integer" }, { name: "who", type: "user" }] };
  const userOf = (name) => MEMBERS.find((one) => one.name === name)?.id;
  assert.equal(slashUsage(poll), "/poll question [votes] [who]");
  assert.deepEqual(slashOptions('/poll "Tea or coffee?" 3 @Ann', poll, userOf), { question: "Tea or coffee?", votes: 3, who: "u-ann" });
  assert.deepEqual(slashOptions("/poll votes:2 question:Tea", poll, userOf), { question: "Tea", votes: 2 });
  assert.deepEqual(slashOptions("/say what is left", { name: "say", options: [{ name: "text", type: "string" }] }, userOf), { text: "what is left" });
  assert.throws(() => slashOptions("/poll", poll, userOf), /needs question/u);
  assert.throws(() => slashOptions("/poll a b", poll, userOf), /votes is a number/u);
  assert.throws(() => slashOptions("/poll a 1 Nobody", poll, userOf), /Nobody here is called Nobody/u);
});

test("the digest of a file is the same where browsers have none", async () => {
  for (const size of [0, 1, 55, 56, 63, 64, 65, 119, 120, 70_000]) {
    const bytes = randomBytes(size);
    const wanted = createHash("sha256").update(bytes).digest("hex");
    assert.equal(await sha256(new Uint8Array(bytes).buffer, null), wanted);
    assert.equal(await sha256(new Uint8Array(bytes).buffer), wanted);
  }
});

test("sizes are told as people read them", () => {
  assert.deepEqual([999, 1500, 15_000, 26_214_400].map(sizeText), ["999 B", "1.5 KB", "15 KB", "25 MB"]);
});
