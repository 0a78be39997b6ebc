/** What the server tells by itself: events of rooms, what concerns this user, and what is in no log. */

import { notificationLine } from "./notifications.js";
import { TYPING_MS } from "./typing.js";

export class Arrivals {
  /** `chat` shows what has come; `list`, `history` and `typing` are its parts. */
  constructor(chat, { list, history, typing }) {
    this._chat = chat;
    this._list = list;
    this._history = history;
    this._typing = typing;
  }

  /** An event of a log. */
  event(event) {
    if (event.room === `user:${this._chat.me.id}`) return this._concernsMe(event);
    const outcome = this._chat.store.apply(event);
    if (outcome === "gap") this._history.repair(event.room);
    if (outcome === "unknown") this._list.refreshSoon();
    if (outcome !== "applied") return;
    this._chat.thread?.apply(event);
    const { thread } = event.data ?? {};
    if (event.type === "message.sent") this._typing.stopped(thread ? `${event.room} ${thread}` : event.room, event.actor.id);
    if (event.type === "message.deleted") this._chat.notifications.forget(event.room, event.data.message);
    if (event.type === "message.sent" && thread) this._noteReply(event, thread);
    if (event.type === "member.left") this._typing.stopped(event.room, event.actor.id);
    if (event.type === "message.sent" && event.actor.id !== this._chat.me.id && !event.erased) this._chat.tell("message", event);
    if (event.type.startsWith("member.") && event.room === this._chat.current) this._chat.rooms.askReceipts();
    if (event.room !== this._chat.current) this._chat.store.trim(event.room);
    else if (!this._chat.store.rooms.has(this._chat.current)) this._chat.open(null);
    this._chat.tell("changed");
  }

  /** A reply in a thread that this user follows is unread, unless they have it open. */
  _noteReply({ room, actor }, thread) {
    const known = this._chat.store.rooms.get(room);
    const root = known?.events.find(({ sequence }) => sequence === thread);
    if (root?.data.thread?.following && actor.id !== this._chat.me.id && this._chat.thread?.root !== thread) known.unreadThreads = true;
  }

  _concernsMe(event) {
    if (event.type !== "notification") return;
    this._chat.notifications.came(event);
    if (event.erased || !["invitation", "moderation"].includes(event.data.cause)) return;
    this._list.refreshSoon();
    this._chat.tell("notice", { text: `${notificationLine(event)}.`, bad: false });
  }

  /** What is in no log. */
  signal({ name, detail }) {
    if (name === "typing") this._heardTyping(detail);
    else if (name === "presence") this._chat.presence.heard(detail);
    else if (name === "draft") this._chat.drafts.heard(detail);
    else if (name === "notification.read") this._chat.notifications.heard(detail);
    else if (name === "read") this._heardRead(detail);
    else if (name === "thread.read") this._list.refreshSoon();
    else if (name === "invocation") this._heardOfCommand(detail);
    else if (name === "scheduled" && detail.state === "failed") {
      this._chat.tell("notice", { text: `A scheduled message was not sent: ${detail.reason ?? detail.code}`, bad: true });
    }
  }

  _heardTyping({ room, user, thread }) {
    if (user === this._chat.me.id || !this._chat.store.rooms.get(room)?.joined) return;
    this._typing.heard(thread ? `${room} ${thread}` : room, user, Date.now());
    if (room !== this._chat.current) return;
    this._chat.tell("changed");
    setTimeout(() => this._chat.tell("changed"), TYPING_MS + 50);
  }

  _heardRead(detail) {
    if (detail.user === this._chat.me.id) {
      this._chat.store.readElsewhere(detail);
      if (detail.back) this._list.refreshSoon();
    } else {
      this._chat.store.rooms.get(detail.room)?.receipts?.set(detail.user, detail.sequence);
    }
    this._chat.tell("changed");
  }

  /** What a bot answers to this user alone is shown in the room until the page is left; any other answer is a message. */
  _heardOfCommand({ invocation, room, name, bot, state, only_you: aside, body }) {
    const known = this._chat.store.rooms.get(room);
    if (!known || (state === "answered" && !aside) || state === "waiting") return;
    const text = state === "expired" ? `${bot.name} did not answer /${name}.` : body;
    if (!known.asides.some(({ id }) => id === invocation)) known.asides.push({ id: invocation, bot, text, at: new Date().toISOString() });
    this._chat.tell("changed");
  }

  /** A room's local copy is worth nothing any more. */
  reset({ room, sequence }) {
    if (room === `user:${this._chat.me.id}`) return;
    if (room === this._chat.current) this._history.reset(room, sequence);
    else this._chat.store.reset(room, sequence);
    if (room === this._chat.thread?.roomId) this._chat.thread.load();
    this._list.refreshSoon();
    this._chat.tell("changed");
  }
}
