/** One row of a message list as nodes. What users wrote becomes text nodes and links made of them, never markup. */

import { avatar } from "../avatar.js";
import { dayName, fullTime, timeOfDay } from "../clock.js";
import { h, icon, iconButton } from "../dom.js";
import { plainText } from "../formatting.js";
import { attachmentNodes } from "./attachments.js";
import { frequentEmojis } from "./emoji_picker.js";
import { textNodes } from "./message_text.js";

const QUICK_REACTIONS = 3;

/** What a row's look depends on: the same text means the same node will do. */
export function stateOf(row) {
  if (row.kind === "message") return JSON.stringify(row);
  return row.kind === "day" ? dayName(row.at) : `${row.kind} ${row.text ?? ""}`;
}

/** Makes a row's node. `actions` is what can be done with messages; see `message_actions.js`. */
export function makeRow(row, actions) {
  switch (row.kind) {
    case "day":
      return h("li", { class: "day", testid: "day" }, h("span", {}, dayName(row.at)));
    case "unread":
      return h("li", { class: "unread-line", testid: "unread-line" }, h("span", {}, "New"));
    case "system":
      return h("li", { class: "system", testid: "system-line", title: fullTime(row.at) }, h("span", {}, row.text));
    case "aside":
      return h("li", { class: "aside", testid: "aside" }, h("small", {}, `${row.bot.name} · only you can see this`), h("div", { class: "bubble" }, textNodes(row.text)));
    default:
      return messageRow(row, actions);
  }
}

function messageRow(row, actions) {
  const { actor, mine, state, opens, closes } = row;
  const calls = !mine && (row.everybody || row.mentions.includes(actions.me.id));
  const classes = ["message", mine ? "mine" : "theirs", state, opens && "opens", closes && "closes", calls && "calls"].filter(Boolean).join(" ");
  const time = h("time", { datetime: row.at, title: fullTime(row.at) }, timeOfDay(row.at));
  const author = opens && h("div", { class: "author" }, !mine && h("button", { type: "button", class: "author-name", testid: "author",
    onclick: (event) => actions.person(event.currentTarget, actor) }, actor.name), mine && h("span", { class: "visually-hidden" }, "You"), time);
  const names = row.mentions.map((id) => actions.nameOf(id)).concat(row.everybody ? ["all", "here"] : []);
  const bubble = h("div", { class: "bubble", testid: "message-body", title: opens ? null : fullTime(row.at), dir: "auto" },
    textNodes(row.body, { names, mine: row.everybody ? "" : actions.me.name }),
    row.edited && h("span", { class: "edited", testid: "message-edited" }, "edited"));
  const content = h("div", { class: "message-content" }, author, above(row, actions),
    row.body !== "" && bubble, forwarded(row, actions), attachmentNodes(row.attachments, actions.files, actions.failed),
    reactions(row, actions), actions.threads && thread(row, actions), mine && note(row, actions), row.seen && seen(row));
  const node = h("li", { class: classes, testid: "message", "data-mine": String(mine), "data-state": state, "data-sequence": String(row.sequence) },
    !mine && h("span", { class: "message-avatar" }, closes && avatar(actor)), content);
  if (row.sequence) node.append(toolbar(row, actions));
  return node;
}

/** What stands over the text: that it is pinned, what it answers, and that it is in a thread. */
function above(row, actions) {
  return [
    row.pinned && h("div", { class: "message-mark", testid: "pinned-mark" }, icon("pin"), "Pinned"),
    row.inThread && h("button", { type: "button", class: "message-mark link", testid: "in-thread", disabled: !row.root, onclick: () => actions.openThread(row.root) },
      icon("thread"), "In a thread"),
    typeof row.custom?.command?.name === "string" && h("div", { class: "message-mark", testid: "command-mark" }, icon("slash"), `/${row.custom.command.name}`),
    row.replyTo > 0 && quote(row, actions),
  ];
}

function quote({ quote: answered, replyTo }, actions) {
  const text = !answered ? "An earlier message" : answered.deleted ? "A deleted message" : plainText(answered.body) || "A file";
  return h("button", { type: "button", class: "quote", testid: "quote", onclick: () => actions.jump(replyTo) },
    answered?.actor && h("strong", {}, answered.actor.name), h("span", {}, text));
}

function forwarded({ forward }, actions) {
  if (!forward) return null;
  return h("button", { type: "button", class: "quote", testid: "forward", onclick: () => actions.jump(forward.message, forward.room) },
    h("strong", {}, "Forwarded"), h("span", {}, "Open the message"));
}

function reactions(row, actions) {
  if (row.reactions.length === 0) return null;
  return h("ul", { class: "reactions", testid: "reactions", "aria-label": "Reactions" }, row.reactions.map((one) => {
    const { emoji, count, mine, users = [] } = one;
    const names = users.map(({ name }) => name).join(", ") + (count > users.length && users.length ? ` and ${count - users.length} more` : "");
    return h("li", {}, h("button", { type: "button", class: mine ? "reaction mine" : "reaction", testid: "reaction", "aria-pressed": String(Boolean(mine)),
      title: names, "aria-label": `${emoji} ${count}: ${names}`, onclick: () => actions.react(row, emoji) }, `${emoji} ${count}`));
  }));
}

function thread({ thread: known, sequence }, actions) {
  if (!known?.replies) return null;
  const { replies } = known;
  return h("button", { type: "button", class: "thread-link", testid: "thread-link", onclick: () => actions.openThread(sequence) },
    icon("thread"), `${replies} ${replies === 1 ? "reply" : "replies"}`, known.last_at && h("small", {}, timeOfDay(known.last_at)));
}

function seen({ seen: names }) {
  const text = names.length > 3 ? `Seen by ${names.length}` : `Seen by ${names.join(", ")}`;
  return h("div", { class: "message-note seen", testid: "seen-by", title: names.join(", ") }, icon("seen"), h("span", {}, text));
}

function toolbar(row, actions) {
  const quick = frequentEmojis().slice(0, QUICK_REACTIONS).map((emoji) => h("button", { type: "button", class: "icon-button quick", testid: "quick-react",
    "aria-label": `React with ${emoji}`, onclick: () => actions.react(row, emoji) }, emoji));
  const menu = iconButton("more", "More", { testid: "message-menu", "aria-haspopup": "menu", onclick: () => actions.menu(menu, row) });
  const react = iconButton("smile", "React", { testid: "react", onclick: () => actions.pickReaction(react, row) });
  return h("div", { class: "message-toolbar", role: "group", "aria-label": "Message" }, actions.closed() ? null : [quick, react,
    iconButton("reply", "Reply", { testid: "reply", onclick: () => actions.reply(row) }),
    !row.root && actions.threads && iconButton("thread", "Answer in a thread", { testid: "start-thread", onclick: () => actions.openThread(row.sequence) })].flat(), menu);
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
