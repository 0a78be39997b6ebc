/** Where messages are written. Enter sends, Shift+Enter starts a new line; each room keeps its own draft. */

import { h, icon } from "../dom.js";
import { typingLine } from "../typing.js";

/** The server's limit on a message body, in bytes of UTF-8. */
export const MAX_BYTES = 64 * 1024;
const WARN_BYTES = 48 * 1024;
const TALLEST_PX = 220;

export class Composer {
  /** `sent` is called after a message was put on its way. */
  constructor(chat, sent) {
    this._chat = chat;
    this._sent = sent;
    this._drafts = new Map();
    this._roomId = null;
    this._build();
  }

  render() {
    const { room } = this._chat;
    if (room.id !== this._roomId) this._change(room);
    this._form.hidden = room.archived;
    this._closed.hidden = !room.archived;
    this._typing.textContent = typingLine(this._chat.whoTypes());
    this._input.placeholder = `Message ${room.name}`;
    this._input.setAttribute("aria-label", `Message ${room.name}`);
  }

  _build() {
    this._input = h("textarea", { id: "composer", testid: "composer", rows: "1", enterkeyhint: "send", autocomplete: "off",
      "aria-describedby": "composer-hint", oninput: () => this._typed(), onkeydown: (event) => this._key(event) });
    this._send = h("button", { id: "send", testid: "send", class: "send", "aria-label": "Send", title: "Send", disabled: true }, icon("send"));
    this._hint = h("p", { id: "composer-hint", testid: "composer-hint", class: "composer-hint" });
    this._form = h("form", { class: "composer-form", onsubmit: (event) => {
      event.preventDefault();
      this._submit();
    } }, h("div", { class: "composer-box" }, this._input, this._send), this._hint);
    this._closed = h("p", { class: "composer-closed", testid: "composer-closed", hidden: true }, icon("lock"),
      "This room is closed. It can be read, but takes no more messages.");
    this._typing = h("p", { class: "typing", testid: "typing", "aria-live": "polite" });
    this.element = h("div", { class: "composer" }, this._typing, this._form, this._closed);
    this._edited();
  }

  _change(room) {
    if (this._roomId) this._drafts.set(this._roomId, this._input.value);
    this._roomId = room.id;
    this._input.value = this._drafts.get(room.id) ?? "";
    this._edited();
    // On a touch screen focus would raise the keyboard over the messages just opened.
    if (matchMedia("(hover: hover)").matches && !document.querySelector("dialog[open]")) this._input.focus({ preventScroll: true });
  }

  _key(event) {
    // While an input method composes, Enter picks a candidate.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this._submit();
  }

  _typed() {
    this._edited();
    if (this._input.value.trim() !== "") this._chat.typing();
  }

  _edited() {
    const bytes = byteLength(this._input.value);
    const tooLong = bytes > MAX_BYTES;
    this._send.disabled = tooLong || this._input.value.trim() === "";
    this._hint.classList.toggle("bad", tooLong);
    this._form.classList.toggle("too-long", tooLong);
    this._hint.textContent = tooLong
      ? `Too long by ${kib(bytes - MAX_BYTES)} KiB. A message holds ${kib(MAX_BYTES)} KiB.`
      : bytes > WARN_BYTES ? `${kib(bytes)} of ${kib(MAX_BYTES)} KiB` : "Enter to send, Shift + Enter for a new line";
    this._input.style.height = "auto";
    this._input.style.height = `${Math.min(this._input.scrollHeight, TALLEST_PX)}px`;
  }

  _submit() {
    if (this._send.disabled) return;
    this._chat.send(this._input.value.trim());
    this._input.value = "";
    this._edited();
    this._input.focus();
    this._sent();
  }
}

function byteLength(text) {
  // Short of this, even four bytes a unit stay below the first warning.
  return text.length * 4 < WARN_BYTES ? text.length : new TextEncoder().encode(text).length;
}

function kib(bytes) {
  return (Math.ceil((bytes / 1024) * 10) / 10).toLocaleString();
}
