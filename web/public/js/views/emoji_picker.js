/** Picks an emoji: for a reaction, or for what is being written. */

import { h } from "../dom.js";
import { showPopup } from "./popup.js";

const RECENT_KEY = "parley.emoji";
const MOST_RECENT = 8;
const LONGEST_BYTES = 64;
const GROUPS = [
  ["Often used", ["👍", "❤️", "😂", "🎉", "🙏", "👀", "✅", "🔥"]],
  ["Faces", ["😀", "😄", "😉", "😊", "😍", "😎", "🤔", "🤨", "😐", "😴", "😢", "😭", "😡", "😱", "🥳", "🤯", "🙃", "🫠", "🤝", "💪"]],
  ["Hands", ["👌", "👏", "🙌", "👋", "🤞", "✌️", "👎", "👇", "👉", "🫡"]],
  ["Things", ["💡", "📌", "📎", "🐛", "🚀", "⚡", "⭐", "💯", "☕", "🍕", "🍰", "🎂", "🏆", "🎯", "⏰", "📅", "🔒", "❓", "❗", "❌"]],
];

/** The emojis that this user picked last, then those that everybody picks. */
export function frequentEmojis() {
  let recent = [];
  try {
    recent = JSON.parse(localStorage.getItem(RECENT_KEY)) ?? [];
  } catch {
    // Forgotten or mangled: the usual ones will do.
  }
  return [...new Set([...recent, ...GROUPS[0][1]])].slice(0, MOST_RECENT);
}

/** Shows the picker at a control; `picked(emoji)` is called with what was chosen. */
export function pickEmoji(anchor, picked) {
  const choose = (emoji) => {
    close();
    localStorage.setItem(RECENT_KEY, JSON.stringify([...new Set([emoji, ...frequentEmojis()])].slice(0, MOST_RECENT)));
    picked(emoji);
  };
  const grid = (emojis) => h("div", { class: "emoji-grid" }, emojis.map((emoji) =>
    h("button", { type: "button", class: "emoji", testid: "emoji", "aria-label": emoji, onclick: () => choose(emoji) }, emoji)));
  const own = h("input", { class: "emoji-own", testid: "emoji-own", placeholder: "Any other emoji or :word:", "aria-label": "Another emoji", autocomplete: "off" });
  const groups = [["Often used", frequentEmojis()], ...GROUPS.slice(1)];
  const close = showPopup(anchor, [
    h("div", { class: "emoji-scroll" }, groups.map(([name, emojis]) => [h("h3", {}, name), grid(emojis)]).flat()),
    h("form", { onsubmit: (event) => {
      event.preventDefault();
      const emoji = own.value.trim();
      if (emoji && !/\s/u.test(emoji) && new TextEncoder().encode(emoji).length <= LONGEST_BYTES) choose(emoji);
    } }, own),
  ], { role: "dialog", label: "Pick an emoji", testid: "emoji-picker", className: "emoji-picker" });
}
