/** Initial-avatars whose colour is the user's everywhere, because it is derived from the id and not from the name. */

import { h } from "./dom.js";

/** How many `avatar-<n>` classes the style sheet defines. */
export const COLOURS = 10;

/** The colour number of a user id, by FNV-1a. */
export function colourOf(userId) {
  let hash = 0x811c9dc5;
  for (const character of userId) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193) >>> 0;
  return ((hash ^ (hash >>> 15)) >>> 0) % COLOURS;
}

/** One or two capitals for a name: of its first two words, else of its beginning. */
export function initialsOf(name) {
  const words = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const letters = words.length > 1 ? words.slice(0, 2).map((word) => [...word][0]) : [...(words[0] ?? "?")].slice(0, 2);
  return letters.join("").toLocaleUpperCase();
}

/** The avatar of a user `{id, name}`; decoration next to the written name. */
export function avatar(user, size = "") {
  const classes = `avatar avatar-${colourOf(user.id)} ${size}`.trim();
  return h("span", { class: classes, "aria-hidden": "true" }, initialsOf(user.name || "?"));
}

/** The icon that says what kind of room it is. */
export function glyphOf(room) {
  return { private: "lock", direct: "chat" }[room.kind] ?? "hash";
}
