/** The queue of reported messages of a room, for its moderators. */

import { dayName, timeOfDay } from "../clock.js";
import { h } from "../dom.js";
import { ReportedFiles } from "../uploads.js";
import { attachmentNodes } from "./attachments.js";
import { makeDialog } from "./dialog.js";

export class ReportsDialog {
  constructor(chat, page) {
    this._chat = chat;
    this._page = page;
    this._room = chat.room.id;
    this._told = h("p", { class: "browse-message", role: "status" }, "Loading…");
    this._list = h("ul", { class: "settings-list", testid: "report-list" });
  }

  show() {
    this._dialog = makeDialog("reports", "Reported messages", this._told, this._list);
    this._dialog.showModal();
    this._load();
  }

  async _load() {
    try {
      const { reports } = await this._chat.command("reports", { room: this._room, state: "open" }, { id: false });
      this._list.replaceChildren(...reports.map((report) => this._row(report)));
      this._told.textContent = reports.length ? "" : "Nothing is reported.";
    } catch (error) {
      this._told.textContent = error.message;
    }
  }

  _row({ report, message, category, comment, at, copy }) {
    const reported = copy.find(({ sequence }) => sequence === message) ?? copy.at(-1);
    const resolve = async (resolution) => {
      await this._chat.attempt(() => this._chat.command("report.resolve", { room: this._room, report, resolution }, { id: false }));
      this._load();
    };
    const files = new ReportedFiles(() => this._chat.command("report.files", { room: this._room, report }, { id: false }));
    const failed = (text) => this._page.notices.show(text, { bad: true });
    const action = (text, testid, run) => h("button", { type: "button", class: "button small", testid, onclick: run }, text);
    return h("li", { class: "report", testid: "report" },
      h("p", {}, h("strong", {}, reported.actor.name), ` · ${category.replace("_", "-")} · ${dayName(at)}, ${timeOfDay(at)}`),
      reported.body !== "" && h("blockquote", {}, reported.body), attachmentNodes(reported.attachments ?? [], files, failed), comment && h("p", { class: "dialog-text" }, comment),
      h("div", { class: "dialog-actions spread" },
        action("Show", "report-show", () => {
          this._dialog.close();
          this._page.jump(message);
        }),
        action("Delete it", "report-delete", async () => {
          const gone = await this._chat.attempt(() => this._chat.command("message.delete", { room: this._room, message }));
          if (gone) resolve("acted");
        }),
        action("Leave it", "report-dismiss", () => resolve("dismissed"))));
  }
}
