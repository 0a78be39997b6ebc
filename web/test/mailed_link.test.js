import assert from "node:assert/strict";
import { test } from "node:test";

import { takeMailed } from "../public/js/mailed_link.js";

function taken(hash) {
  const shown = [];
  const found = takeMailed({ hash, pathname: "/", search: "?a=b" }, { replaceState: (_state, _title, url) => shown.push(url) });
  return { found, shown };
}

test("a mailed link says what it is for, and is taken out of the address", () => {
  assert.deepEqual(taken("#reset=Ab-_9"), { found: { purpose: "reset", token: "Ab-_9" }, shown: ["/?a=b"] });
  assert.deepEqual(taken("#verify=x").found, { purpose: "verify", token: "x" });
  assert.deepEqual(taken("#invite=x").found, { purpose: "invite", token: "x" });
});

test("rooms and whatever else stands there are left alone", () => {
  for (const hash of ["", "#/r_1", "#reset=", "#reset=<b>", `#reset=${"x".repeat(65)}`, "#delete=x"]) {
    assert.deepEqual(taken(hash), { found: null, shown: [] });
  }
});
