import assert from "node:assert/strict";
import { test } from "node:test";

import { passkeysWork } from "../public/js/passkeys.js";

const page = (hostname, PublicKeyCredential = { parseRequestOptionsFromJSON: () => ({}) }) => ({ location: { hostname }, PublicKeyCredential });

test("passkeys work on the pages of their domain, in browsers that have them", () => {
  assert.ok(passkeysWork("example.com", page("example.com")));
  assert.ok(passkeysWork("example.com", page("chat.example.com")));
  for (const host of ["notexample.com", "example.com.evil.example", "127.0.0.1"]) assert.ok(!passkeysWork("example.com", page(host)));
  assert.ok(!passkeysWork("", page("example.com")));
  assert.ok(!passkeysWork("example.com", page("example.com", null)));
  assert.ok(!passkeysWork("example.com", page("example.com", {})));
});
