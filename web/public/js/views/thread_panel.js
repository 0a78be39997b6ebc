/** The open thread: its first message, the replies, and where to answer. */

import { h } from "../dom.js";
import { buildTimeline } from "../timeline.js";
import { Composer } from "./composer.js";
import { MessageActions } from "./message_actions.js";
import { renderRows } from "./rows.js";

const NEAR_END_PX = 60;

export class ThreadPanel {
  constructor(chat, page) {
    this._chat = chat;
    this.id = "thread";
    this.title = "Thread";
    this._nodes = new Map();
    this._following = true;
    this._composer = new Composer(chat, () => this._stick(), page.notices, "thread-composer");
    this._actions = new MessageActions(chat, this._composer, page, { threads: false });
    this._older = h("button", { type: "button", class: "link", hidden: true, testid: "thread-older", onclick: () => chat.attempt(() => chat.thread.loadOlder()) }, "Earlier replies");
    this._follow = h("button", { type: "button", class: "button small", testid: "thread-follow", onclick: () => this._toggle() });
    this._told = h("p", { class: "panel-told", role: "status" });
    this._rows = h("ol", { class: "messages", testid: "thread-messages" });
    this._scroller = h("div", { class: "panel-scroll thread-scroll", tabindex: "0", role: "log", "aria-label": "Thread", onscroll: () => {
      if (this._scroller.clientHeight !== this._height) return;
      this._following = this._scroller.scrollHeight - this._scroller.scrollTop - this._scroller.clientHeight < NEAR_END_PX;
    } }, h("div", { class: "thread-head" }, this._follow, this._older), this._told, this._rows);
    new ResizeObserver(() => {
      this._height = this._scroller.clientHeight;
      if (this._following) this._stick();
    }).observe(this._scroller);
    this.element = h("div", { class: "panel-fill", testid: "thread-panel" }, this._scroller, this._composer.element);
  }

  focus() {
    this._composer.focus();
  }

  left() {
    this._chat.openThread(null);
  }

  render() {
    const { thread, room, me } = this._chat;
    if (!thread || !room) return;
    if (this._root !== thread.root) {
      this._root = thread.root;
      this._following = true;
    }
    this._told.textContent = thread.error || (thread.loading && thread.events.length === 0 ? "Loading…" : "");
    this._older.hidden = !thread.more;
    const following = Boolean(thread.events[0]?.data.thread?.following);
    this._follow.textContent = following ? "Following" : "Follow";
    this._follow.title = following ? "You are told of new replies" : "Be told of new replies";
    this._follow.setAttribute("aria-pressed", String(following));
    this._follow.hidden = thread.events.length === 0;
    this._nodes = renderRows(this._rows, this._nodes, buildTimeline({ ...room, events: thread.events, asides: [] }, me, null, thread.root), this._actions);
    this._composer.render(thread.root);
    if (this._following) this._stick();
    if (this._following && !document.hidden) this._chat.markThreadRead();
  }

  _stick() {
    this._following = true;
    this._scroller.scrollTop = this._scroller.scrollHeight;
  }

  _toggle() {
    const { thread } = this._chat;
    const follows = thread.events[0]?.data.thread?.following;
    this._chat.attempt(() => this._chat.command(follows ? "thread.unfollow" : "thread.follow", { room: thread.roomId, thread: thread.root }));
  }
}
