/** Sends a message later, and shows what waits to be sent. */

import { fullTime } from "../clock.js";
import { h, iconButton } from "../dom.js";
import { newId } from "../identifiers.js";
import { makeDialog, submitting } from "./dialog.js";

const HOUR_MS = 3_600_000;

export class ScheduleDialog {
  /** `message` is what to send, or null to look at what waits; `done` is called when it is scheduled. */
  constructor(chat, message, notices, done) {
    Object.assign(this, { _chat: chat, _message: message, _notices: notices, _done: done });
    this._error = h("p", { class: "form-error", role: "alert" });
    this._list = h("ul", { class: "settings-list", testid: "scheduled-list" });
  }

  show() {
    this._dialog = makeDialog("schedule", this._message ? "Send later" : "Messages that wait", this._message && this._form(), this._error, this._list);
    this._dialog.showModal();
    this._load();
  }

  _form() {
    const soon = new Date(Date.now() + HOUR_MS - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
    const at = h("input", { id: "schedule-at", testid: "schedule-at", type: "datetime-local", value: soon, required: true });
    const button = h("button", { class: "button primary", testid: "schedule-submit" }, "Send then");
    return h("form", { onsubmit: async (event) => {
      event.preventDefault();
      const when = new Date(at.value);
      const message = { id: newId(), ...this._message };
      if (!(await submitting(button, this._error, () => this._chat.command("message.schedule", { at: when.toISOString(), message }, { id: false })))) return;
      this._dialog.close();
      this._done();
      this._notices.show(`It will be sent ${fullTime(when)}.`);
    } }, h("div", { class: "field" }, h("label", { for: "schedule-at" }, "When"), at), h("div", { class: "dialog-actions" }, button));
  }

  async _load() {
    try {
      const { scheduled } = await this._chat.command("scheduled", {}, { id: false });
      this._list.replaceChildren(...scheduled.map((one) => this._row(one)));
      if (scheduled.length === 0 && !this._message) this._error.textContent = "Nothing waits to be sent. Write a message and choose “Send later”.";
    } catch (error) {
      this._error.textContent = error.message;
    }
  }

  _row({ id, at, message: { room, body }, code, reason }) {
    const title = this._chat.store.rooms.get(room);
    return h("li", { testid: "scheduled" }, h("span", { class: "settings-name" }, h("strong", {}, body),
      h("small", {}, `${title ? this._chat.store.titleOf(title) : "A room"} · ${fullTime(at)}${code ? ` · not sent: ${reason ?? code}` : ""}`)),
    iconButton("trash", "Do not send it", { testid: "unschedule", onclick: async () => {
      if (await this._chat.attempt(() => this._chat.command("message.unschedule", { id }, { id: false }))) this._load();
    } }));
  }
}
