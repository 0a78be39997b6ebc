/** One tab at a time: mutual exclusion between the tabs of one origin. */

import { newId } from "./identifiers.js";

const LEASE_MS = 10_000;
const SETTLE_MS = 40;

/** Runs `work` while no other tab runs work under the same name, and returns its result. */
export function withLock(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : withLease(name, work);
}

/**
 * Web Locks exist only on https and localhost. Elsewhere a lease in localStorage stands in: written, then read again
 * after a pause, so that of two tabs that write at once only the last one goes on. It expires should its tab die.
 */
async function withLease(name, work) {
  const key = `${name}.lease`;
  const owner = newId();
  for (;;) {
    const held = readLease(key);
    if (!held || held.until < Date.now()) {
      localStorage.setItem(key, JSON.stringify({ owner, until: Date.now() + LEASE_MS }));
      await pause(SETTLE_MS);
      if (readLease(key)?.owner === owner) break;
    }
    await pause(SETTLE_MS + Math.random() * SETTLE_MS);
  }
  try {
    return await work();
  } finally {
    if (readLease(key)?.owner === owner) localStorage.removeItem(key);
  }
}

function readLease(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
