/** Asks a yes-or-no question. */

import { h } from "../dom.js";
import { makeDialog } from "./dialog.js";

/** Shows the question and resolves to whether it was confirmed. */
export function confirmDialog({ id, title, text, confirm, cancel = "Cancel", danger = false }) {
  return new Promise((resolve) => {
    const answer = (yes) => {
      resolve(yes);
      dialog.close();
    };
    const dialog = makeDialog(id, title,
      h("p", { class: "dialog-text", testid: `${id}-text` }, text),
      h("div", { class: "dialog-actions" },
        h("button", { type: "button", class: "button", testid: `${id}-cancel`, onclick: () => answer(false) }, cancel),
        h("button", { type: "button", class: `button ${danger ? "danger" : "primary"}`, testid: `${id}-confirm`, autofocus: true,
          onclick: () => answer(true) }, confirm)));
    dialog.addEventListener("close", () => resolve(false));
    dialog.showModal();
  });
}
