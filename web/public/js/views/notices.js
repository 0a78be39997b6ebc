/** Short notices in the corner, and the line that screen readers are told new messages through. */

import { h, icon, iconButton } from "../dom.js";

const SHOWN_MS = 6_000;
const MOST = 4;

export class Notices {
  constructor() {
    this._list = h("div", { class: "notices", testid: "notices", role: "status", "aria-live": "polite" });
    this._live = h("div", { class: "visually-hidden", testid: "live-region", "aria-live": "polite" });
    this.element = h("div", { class: "notices-layer" }, this._list, this._live);
  }

  /** Shows a text for a few seconds. */
  show(text, { bad = false } = {}) {
    const notice = h("div", { class: `notice ${bad ? "bad" : ""}`, testid: "notice" },
      icon(bad ? "alert" : "check"), h("span", {}, text),
      iconButton("close", "Dismiss", { onclick: () => notice.remove() }));
    while (this._list.childElementCount >= MOST) this._list.firstChild.remove();
    this._list.append(notice);
    setTimeout(() => notice.remove(), SHOWN_MS);
  }

  /** Has a screen reader say a text when it is done with what it says now. */
  announce(text) {
    this._live.textContent = text.slice(0, 500);
  }
}
