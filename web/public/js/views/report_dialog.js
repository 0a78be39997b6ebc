/** Reports a message to the room's moderators. */

import { h } from "../dom.js";
import { makeDialog, submitting } from "./dialog.js";

const CATEGORIES = {
  spam: "Spam", harassment: "Harassment", hate: "Hate", violence: "Violence", sexual: "Sexual content", self_harm: "Self-harm", illegal: "Illegal", other: "Something else",
};

export class ReportDialog {
  constructor(chat, row, notices) {
    this._chat = chat;
    this._room = chat.room.id;
    this._row = row;
    this._notices = notices;
  }

  show() {
    const category = h("select", { id: "report-category", testid: "report-category" }, Object.entries(CATEGORIES).map(([value, text]) => h("option", { value }, text)));
    const comment = h("textarea", { id: "report-comment", testid: "report-comment", rows: "3", maxlength: "1000" });
    const error = h("p", { class: "form-error", role: "alert" });
    const button = h("button", { class: "button primary", testid: "report-submit" }, "Report");
    const dialog = makeDialog("report", `Report ${this._row.actor.name}’s message`, h("form", { onsubmit: async (event) => {
      event.preventDefault();
      const said = { room: this._room, message: this._row.sequence, category: category.value, ...(comment.value.trim() && { comment: comment.value.trim() }) };
      if (!(await submitting(button, error, () => this._chat.command("message.report", said)))) return;
      dialog.close();
      this._notices.show("Thank you. The moderators of this room will look at it.");
    } },
    h("div", { class: "field" }, h("label", { for: "report-category" }, "What is wrong with it"), category),
    h("div", { class: "field" }, h("label", { for: "report-comment" }, "Anything they should know"), comment), error,
    h("div", { class: "dialog-actions" }, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"), button)));
    dialog.showModal();
  }
}
