import assert from "node:assert/strict";
import { test } from "node:test";

import { COLOURS, colourOf, initialsOf } from "../public/js/avatar.js";

test("every user id has one of the colours, always the same, and all colours are used", () => {
  const colours = Array.from({ length: 500 }, (_, index) => colourOf(`user-${index}`));
  assert.deepEqual([...new Set(colours)].sort((a, b) => a - b), Array.from({ length: COLOURS }, (_, index) => index));
  assert.equal(colourOf("user-7"), colourOf("user-7"));
});

test("initials are those of the first two words, else the name's beginning", () => {
  assert.equal(initialsOf("ada lovelace king"), "AL");
  assert.equal(initialsOf("grace.hopper"), "GH");
  assert.equal(initialsOf("linus"), "LI");
  assert.equal(initialsOf("🦊"), "🦊");
});
