import assert from "node:assert/strict";
import { test } from "node:test";

import { splitLinks } from "../public/js/links.js";

function links(text) {
  const parts = splitLinks(text);
  assert.equal(parts.map((part) => part.text).join(""), text);
  return parts.filter(({ href }) => href).map((part) => part.text);
}

test("web addresses are found in text", () => {
  assert.deepEqual(links("see https://example.org/a?b=c#d and http://x.test"), ["https://example.org/a?b=c#d", "http://x.test"]);
});

test("punctuation that ends the sentence is no part of the address", () => {
  assert.deepEqual(links("(see https://example.org/a). Or https://example.org/b, https://example.org/c!"), [
    "https://example.org/a", "https://example.org/b", "https://example.org/c",
  ]);
});

test("brackets that belong to the address stay in it", () => {
  assert.deepEqual(links("https://example.org/Colour_(theory)"), ["https://example.org/Colour_(theory)"]);
});

test("nothing but http and https becomes a link", () => {
  assert.deepEqual(links("javascript:alert(1) data:text/html,x ftp://a.test file:///etc/passwd xhttp://a.test"), []);
  assert.deepEqual(links("https:// and http://..."), []);
});

test("markup around an address stays text", () => {
  assert.deepEqual(links("<a href=\"https://example.org/x\">"), ["https://example.org/x"]);
});

test("long runs of closing brackets are handled in reasonable time", () => {
  const started = performance.now();
  splitLinks(`https://example.org/${")".repeat(65_000)}`);
  assert.ok(performance.now() - started < 1_000);
});
