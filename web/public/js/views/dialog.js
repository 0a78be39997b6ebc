/** The frame of every dialog: a native modal, so that focus and Escape work as they should everywhere. */

import { h, iconButton } from "../dom.js";

/** Makes a dialog with a title and content. It removes itself when it closes and gives the focus back. */
export function makeDialog(id, title, ...content) {
  const before = document.activeElement;
  const close = iconButton("close", "Close", { class: "icon-button dialog-close", testid: `${id}-close`, onclick: () => dialog.close() });
  const dialog = h("dialog", { id: `${id}-dialog`, testid: `${id}-dialog`, class: "dialog", "aria-labelledby": `${id}-title` },
    h("div", { class: "dialog-inside" }, h("header", { class: "dialog-head" }, h("h2", { id: `${id}-title` }, title), close), ...content));
  let pressedOutside = false;
  dialog.addEventListener("pointerdown", (event) => (pressedOutside = event.target === dialog));
  // Only a click that began outside: a text selection dragged out of the dialog must not close it.
  dialog.addEventListener("click", (event) => pressedOutside && event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  document.body.append(dialog);
  return dialog;
}

/** Runs a form's work with its button busy; shows the message of an error, returns whether there was none. */
export async function submitting(button, errorLine, work) {
  errorLine.textContent = "";
  button.disabled = true;
  try {
    await work();
    return true;
  } catch (error) {
    errorLine.textContent = error.message;
    return false;
  } finally {
    button.disabled = false;
  }
}
