/** One row of the message list as nodes. User text becomes text nodes and links made of them, never markup. */

import { avatar } from "../avatar.js";
import { dayName, fullTime, timeOfDay } from "../clock.js";
import { h, icon } from "../dom.js";
import { splitLinks } from "../links.js";

/** What a row's look depends on: the same text means the same node will do. */
export function stateOf(row) {
  if (row.kind === "message") {
    return JSON.stringify([row.opens, row.closes, row.state, row.error, row.body, row.edited, row.reactions]);
  }
  return row.kind === "day" ? dayName(row.at) : row.kind;
}

/** Makes a row's node. `actions`: `retry(id)` and `discard(id)` for messages that failed. */
export function makeRow(row, actions) {
  switch (row.kind) {
    case "day":
      return h("li", { class: "day", testid: "day" }, h("span", {}, dayName(row.at)));
    case "unread":
      return h("li", { class: "unread-line", testid: "unread-line" }, h("span", {}, "New"));
    case "system":
      return h("li", { class: "system", testid: "system-line", title: fullTime(row.at) }, h("span", {}, row.text));
    default:
      return messageRow(row, actions);
  }
}

function messageRow(row, actions) {
  const { actor, mine, state, opens, closes } = row;
  const classes = ["message", mine ? "mine" : "theirs", state, opens && "opens", closes && "closes"].filter(Boolean).join(" ");
  const time = h("time", { datetime: row.at, title: fullTime(row.at) }, timeOfDay(row.at));
  const author = opens && h("div", { class: "author" }, !mine && h("span", { class: "author-name" }, actor.name),
    mine && h("span", { class: "visually-hidden" }, "You"), time);
  const bubble = h("div", { class: "bubble", testid: "message-body", title: opens ? null : fullTime(row.at), dir: "auto" },
    splitLinks(row.body).map(({ text, href }) =>
      href ? h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, text) : text),
    row.edited && h("span", { class: "edited", testid: "message-edited" }, "edited"));
  return h("li", { class: classes, testid: "message", "data-mine": String(mine), "data-state": state },
    !mine && h("span", { class: "message-avatar" }, closes && avatar(actor)),
    h("div", { class: "message-content" }, author, bubble, reactions(row), mine && note(row, actions)));
}

function reactions({ reactions = [] }) {
  if (reactions.length === 0) return null;
  return h("ul", { class: "reactions", testid: "reactions", "aria-label": "Reactions" },
    reactions.map(({ emoji, count, mine }) => h("li", { class: mine ? "reaction mine" : "reaction", testid: "reaction" }, `${emoji} ${count}`)));
}

/** What is under an own message that is not (yet) with the server. */
function note(row, actions) {
  if (row.state === "pending") {
    return h("div", { class: "message-note", testid: "message-pending" }, icon("clock"), h("span", {}, "Sending…"));
  }
  if (row.state !== "failed") return null;
  return h("div", { class: "message-note failed", testid: "message-failed", role: "alert" },
    icon("alert"), h("span", {}, `Not sent. ${row.error}`),
    h("button", { type: "button", class: "link", testid: "retry-message", onclick: () => actions.retry(row.id) }, "Retry"),
    h("button", { type: "button", class: "link", testid: "discard-message", onclick: () => actions.discard(row.id) }, "Discard"));
}
