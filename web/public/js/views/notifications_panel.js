/** What concerns this user, newest first, and how they want to be told. */

import { avatar } from "../avatar.js";
import { dayName, fullTime, timeOfDay } from "../clock.js";
import { h } from "../dom.js";
import { plainText } from "../formatting.js";
import { notificationLine } from "../notifications.js";

const CAUSES = { mention: "Mentions", reply: "Answers", direct: "Direct messages", reaction: "Reactions" };

export class NotificationsPanel {
  constructor(chat, page) {
    this._chat = chat;
    this._page = page;
    this.id = "notifications";
    this.title = "Notifications";
    this._all = h("button", { type: "button", class: "button small", testid: "read-all", onclick: () => chat.attempt(() => chat.notifications.read()) }, "Mark all read");
    this._told = h("p", { class: "panel-told", role: "status" });
    this._list = h("ul", { class: "found-list", testid: "notification-list" });
    this._more = h("button", { type: "button", class: "button wide", hidden: true, onclick: () => chat.attempt(() => chat.notifications.loadMore()) }, "Earlier");
    this._choices = h("fieldset", { class: "checks" });
    this.element = h("div", { class: "panel-fill" }, h("div", { class: "panel-tools" }, this._all),
      h("div", { class: "panel-scroll" }, this._told, this._list, this._more,
        h("details", { class: "panel-details", ontoggle: () => this._loadChoices() }, h("summary", {}, "What to tell me of"), this._choices)));
  }

  render() {
    const { notifications } = this._chat;
    const state = JSON.stringify([notifications.list, notifications.more]);
    if (state === this._state) return;
    this._state = state;
    this._all.disabled = notifications.unread === 0;
    this._more.hidden = !notifications.more;
    this._told.textContent = notifications.list.length === 0 ? "Nothing yet. Mentions, answers, reactions and invitations are listed here." : "";
    this._list.replaceChildren(...notifications.list.filter(({ erased }) => !erased).map((one) => this._row(one)));
  }

  _row(one) {
    const { actor, at, data } = one;
    return h("li", {}, h("button", { type: "button", class: `found ${data.read ? "" : "unread"}`, testid: "notification", onclick: () => this._open(one) }, avatar(actor, "small"),
      h("span", { class: "found-text" }, h("span", { class: "found-head" }, h("span", {}, notificationLine(one)),
        h("time", { datetime: at, title: fullTime(at) }, `${dayName(at)}, ${timeOfDay(at)}`)),
      data.text && data.cause !== "reaction" && h("span", { class: "found-body", dir: "auto" }, plainText(data.text))),
      !data.read && h("span", { class: "unread-dot", "aria-label": "unread" })));
  }

  async _open({ sequence, data }) {
    if (!data.read) this._chat.attempt(() => this._chat.notifications.read([sequence]));
    const message = data.cause === "reaction" ? data.message : data.event;
    if (this._chat.store.rooms.get(data.room)?.joined && !["invitation", "moderation"].includes(data.cause)) this._page.jump(message, data.room);
  }

  async _loadChoices() {
    await this._chat.attempt(async () => {
      const { silenced, private_receipts: hidden } = await this._chat.command("preferences", {}, { id: false });
      const rows = Object.entries(CAUSES).map(([cause, text]) => this._check(cause, text, !silenced.includes(cause), () => this._save()));
      this._choices.replaceChildren(h("legend", { class: "visually-hidden" }, "What to tell me of"), ...rows,
        this._check("receipts", "Show others how far I have read", !hidden, () => this._save()));
    });
  }

  _check(name, text, checked, changed) {
    return h("label", { class: "check" }, h("input", { type: "checkbox", name, checked, testid: `tell-${name}`, onchange: changed }), text);
  }

  _save() {
    const checked = (name) => this._choices.querySelector(`[name="${name}"]`).checked;
    const silenced = Object.keys(CAUSES).filter((cause) => !checked(cause));
    this._chat.attempt(() => this._chat.command("preferences.update", { silenced, private_receipts: !checked("receipts") }, { id: false }));
  }
}
