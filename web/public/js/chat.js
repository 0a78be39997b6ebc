/**
 * What the user does and what the server tells, brought together: the one place that moves data between the connection,
 * the REST queries and the store. It knows nothing of the page.
 *
 * Events: `changed` (render again), `message` (detail: a message of someone else that has just come), `notice` (detail
 * {text, bad}), `draft` (written on another device), `stopped` (detail {code, message, kicked}: connected no more, and
 * not trying).
 */

import { Api, RequestError } from "./api.js";
import { Connection } from "./connection.js";
import { Drafts } from "./drafts.js";
import { History } from "./history.js";
import { newId } from "./identifiers.js";
import { notificationLine, Notifications } from "./notifications.js";
import { Outbox } from "./outbox.js";
import { Presence } from "./presence.js";
import { ReadMarks } from "./read_marks.js";
import { RoomList } from "./room_list.js";
import { Store } from "./store.js";
import { Thread } from "./thread.js";
import { Typing, TYPING_MS } from "./typing.js";
import { FileAddresses } from "./uploads.js";

const COMMAND_TRIES = 4;
const MOST_JUMPED = 8;
/** Receipts are shown in rooms of so many members. */
const RECEIPTS_UP_TO = 100;

export class Chat extends EventTarget {
  constructor(session) {
    super();
    this.me = session.user;
    this.store = new Store(this.me.id);
    this.store.meet(this.me);
    this.current = null;
    this.thread = null;
    this.ready = false;
    this.api = new Api(session);
    const changed = () => this._changed();
    const ask = (name, payload) => this.command(name, payload, { id: false });
    this.presence = new Presence((name, payload) => this._connection.command(name, payload), changed);
    this.notifications = new Notifications(ask, changed);
    this.drafts = new Drafts((name, payload) => this._connection.command(name, payload), () => this._tell("draft", null));
    this.files = new FileAddresses(ask);
    this._typing = new Typing();
    this._marks = new ReadMarks((room, sequence) => this._tellRead(room, sequence));
    this._connection = new Connection(session, () => this._stateToTell());
    this._outbox = new Outbox(this._connection, this.store, changed, (room, error) => this._sendRefused(room, error));
    this._query = async (range) => {
      const page = await ask("history", range);
      this._log = page.log;
      return page;
    };
    this._history = new History(this.store, {
      query: this._query,
      apply: (event) => this._event(event),
      changed,
      failed: (error) => this._historyFailed(error),
    });
    this._list = new RoomList(this.api, this.store, {
      pending: () => this._marks.pending(),
      online: () => this.status === "online",
      taken: () => this._listTaken(),
      behind: (room) => this._history.repair(room),
    });
    this._stopped = false;
    this._listen();
  }

  /** "connecting" | "online" | "reconnecting" | "stopped". */
  get status() {
    return this._connection.status;
  }

  /** The open room, or null. */
  get room() {
    return this.store.rooms.get(this.current) ?? null;
  }

  /** Loads the rooms, then connects: the cursors name what the list has told, so nothing falls between the two. */
  async start() {
    for (let wait = 500; !this._stopped; wait = Math.min(wait * 2, 8_000)) {
      try {
        await this._list.refresh();
        break;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
    if (this._stopped) return;
    this.ready = true;
    this._connection.open();
    this._changed();
  }

  /** Ends this user's stay: for signing out. */
  stop() {
    this.drafts.close();
    this._stopped = true;
    for (const part of [this._list, this._marks, this.presence]) part.close();
    this._outbox.stop();
    this._connection.close();
  }

  /** Connects again: now if it is trying anyway, and on request after a kick. */
  reconnect() {
    if (this.status === "stopped") this._connection.open();
    else this._connection.hurry();
  }

  /** A command with an id of its own, repeated under it while the error says that this may help. Raises `RequestError`. */
  async command(name, payload, { id = true } = {}) {
    const named = id ? { id: newId(), ...payload } : payload;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this._connection.command(name, named);
      } catch (error) {
        const hopeless = !(error instanceof RequestError) || !error.retryable || attempt >= COMMAND_TRIES;
        if (hopeless || this._stopped || this.status === "stopped") throw error;
        await new Promise((resolve) => setTimeout(resolve, 300 * 2 ** attempt));
      }
    }
  }

  /** Opens a room of ours, or none with null. */
  open(roomId) {
    const room = this.store.rooms.get(roomId);
    this.current = room?.joined ? roomId : null;
    if (this.thread && this.thread.roomId !== this.current) this.thread = null;
    this._changed();
    if (this.current) this._loadOpened();
    this._lookAround();
  }

  /** Opens a thread of the open room by its first message, or none with null. */
  openThread(root) {
    this.thread = root && new Thread(this.current, root, this.me.id, { query: this._query, changed: () => this._changed() });
    this.thread?.load();
    this._changed();
  }

  /** Loads the page before the oldest event. */
  loadOlder(roomId) {
    this._history.older(roomId);
  }

  /** Whether history of the room is being loaded. */
  isLoading(roomId) {
    return this._history.isLoading(roomId);
  }

  /** Loads back to a message of the open room, if it is not too far. Returns whether it is there to be shown. */
  async reach(sequence) {
    const roomId = this.current;
    for (let page = 0; page < MOST_JUMPED && this.current === roomId; page += 1) {
      const { events, more } = this.room;
      if (events.length > 0 && events[0].sequence <= sequence) return events.some((event) => event.sequence === sequence);
      if (!more && events.length > 0) return false;
      await this._history.loadOlder(roomId);
    }
    return false;
  }

  /** A page of messages around one, for what is too far back to be loaded to. Raises `RequestError`. */
  around(room, sequence) {
    return this._query({ room, around: sequence, limit: 30 });
  }

  /** Sends a message to the open room; `more` are fields of `message.send` besides. */
  send(body, more = {}, shown = {}) {
    this._outbox.send(this.current, body, more, shown);
  }

  retry(messageId) {
    this._outbox.retry(this.current, messageId);
  }

  discard(messageId) {
    this._outbox.discard(this.current, messageId);
  }

  /** Adds or takes back an own reaction. */
  async react({ sequence, reactions = [] }, emoji) {
    const mine = reactions.some((one) => one.emoji === emoji && one.mine);
    await this.attempt(() => this.command(mine ? "reaction.remove" : "reaction.add", { room: this.current, message: sequence, emoji }));
  }

  /** Runs work whose failure is told in a notice; returns whether there was none. */
  async attempt(work) {
    try {
      await work();
      return true;
    } catch (error) {
      this._tell("notice", { text: error.message, bad: true });
      return false;
    }
  }

  /** Tells the others in the open room that this user is writing, there or in its open thread. */
  typing(thread = null) {
    const place = thread ? `${this.current} ${thread}` : this.current;
    if (this.status !== "online" || !this._typing.tells(place, Date.now())) return;
    // Nobody misses it: it is said again while the user goes on.
    this._connection.command("typing", { room: this.current, ...(thread && { thread }) }).catch(() => {});
  }

  /** The names of the others who are writing in the open room, or in a thread of it. */
  whoTypes(thread = null) {
    const place = thread ? `${this.current} ${thread}` : this.current;
    return this._typing.users(place, Date.now()).map((user) => this.store.nameOf(user));
  }

  /** Notes that the open room was read to its end. */
  markRead() {
    const { room } = this;
    if (!room || room.last === null || !this.store.markRead(room.id, room.last)) return;
    this._marks.set(room.id, room.last);
    this._changed();
  }

  /** Has a message and those after it unread again. Raises `RequestError`. */
  async markUnread(sequence) {
    const roomId = this.current;
    this._marks.drop(roomId);
    const ack = await this.command("unread.mark", { room: roomId, sequence }, { id: false });
    this.open(null);
    this.store.readElsewhere({ ...ack, room: roomId, back: true });
    this._changed();
  }

  /** Notes that the open thread was read to its end; of one that is not followed there is nothing to note. */
  markThreadRead() {
    const { thread } = this;
    if (!thread || thread.loading || thread.last <= (thread.readTo ?? 0)) return;
    thread.readTo = thread.last;
    this._connection.command("thread.read", { room: thread.roomId, thread: thread.root, sequence: thread.last }).catch(() => {});
  }

  /** Makes a room and opens it. Raises `RequestError`. */
  async createRoom(name, kind) {
    await this._enter("room.create", { name, kind }, { name, kind });
  }

  /** Joins a room as listed, or accepts the invitation to it, and opens it. Raises `RequestError`. */
  async joinRoom(info) {
    await this._enter("room.join", { room: info.id }, info);
  }

  /** Joins the room that a link leads to, and opens it. Raises `RequestError`. */
  async joinByLink(code) {
    await this._enter("room.join", { invite: code }, {});
  }

  /** Finds or makes the direct room with users `{id, name}`, and opens it. Raises `RequestError`. */
  async direct(users) {
    this.store.meet(...users);
    await this._enter("room.direct", { users: users.map(({ id }) => id) }, {});
  }

  /** Leaves a room, or declines an invitation. Raises `RequestError`. */
  async leaveRoom(roomId) {
    await this.command("room.leave", { room: roomId });
    this._list.moved();
    this.store.remove(roomId);
    if (this.current === roomId) this.open(null);
    this._changed();
  }

  /** Invites a user `{id, name}`. Raises `RequestError`. */
  async invite(roomId, user) {
    await this.command("room.invite", { room: roomId, user });
  }

  /** Public rooms by name, and our own: `{rooms, more}`. Raises `RequestError`. */
  browse(search) {
    return this.api.rooms({ search, limit: 50 });
  }

  /** This user's role in a room, as far as its members are known. */
  role(room = this.room) {
    return room?.members?.get(this.me.id)?.role ?? "member";
  }

  /** Whether this user moderates a room. */
  moderates(room = this.room) {
    return this.role(room) !== "member" && room.kind !== "direct";
  }

  /** The moment from which on this user may write in a room again, in milliseconds; 0 for now. */
  mayWriteAt(room) {
    if (!room.slowSeconds || this.moderates(room)) return 0;
    const own = room.events.findLast(({ type, actor }) => type === "message.sent" && actor.id === this.me.id);
    return Math.max(own ? Date.parse(own.at) + room.slowSeconds * 1000 : 0, room.nextPostAt ?? 0);
  }

  /** Loads the member list of the open room. */
  async loadMembers() {
    const roomId = this.current;
    try {
      const { members, more } = await this.api.members(roomId);
      this.store.setMembers(roomId, members, more);
      this._changed();
    } catch {
      // The count from the room list stands; the next opening or connect asks again.
    }
  }

  async _enter(name, payload, info) {
    const { room, sequence } = await this.command(name, payload);
    this._list.moved();
    this.store.addJoined({ ...info, ...room }, sequence);
    this.open(room.id);
  }

  _stateToTell() {
    const { choice } = this.presence;
    return { cursors: this.store.cursors(), ...(this._log && { log: this._log }), ...(choice !== "automatic" && { presence: choice }) };
  }

  _listen() {
    const connection = this._connection;
    connection.addEventListener("status", ({ detail }) => this._status(detail));
    connection.addEventListener("event", ({ detail }) => this._event(detail));
    connection.addEventListener("signal", ({ detail }) => this._signal(detail));
    connection.addEventListener("reset", ({ detail }) => this._reset(detail));
    connection.addEventListener("kicked", ({ detail }) => {
      this._tell("stopped", { code: detail.code, message: detail.reason ?? "", kicked: true });
    });
    connection.addEventListener("refused", ({ detail }) => this._tell("stopped", { ...detail, kicked: false }));
  }

  _status(status) {
    this._changed();
    if (status !== "online") return;
    this._outbox.resume();
    this._marks.resume();
    this.presence.connected();
    if (this.current) this._loadOpened();
    this.thread?.load();
    this._list.refreshSoon(); // rooms joined or left from elsewhere while this page was away
    for (const part of [this.notifications, this.drafts]) part.load().catch(() => {}); // asked again at the next connect
  }

  _event(event) {
    if (event.room === `user:${this.me.id}`) return this._concernsMe(event);
    const outcome = this.store.apply(event);
    if (outcome === "gap") this._history.repair(event.room);
    if (outcome === "unknown") this._list.refreshSoon();
    if (outcome !== "applied") return;
    this.thread?.apply(event);
    const { thread } = event.data ?? {};
    if (event.type === "message.sent") this._typing.stopped(thread ? `${event.room} ${thread}` : event.room, event.actor.id);
    if (event.type === "member.left") this._typing.stopped(event.room, event.actor.id);
    if (event.type === "message.sent" && event.actor.id !== this.me.id && !event.erased) this._tell("message", event);
    if (event.type.startsWith("member.") && event.room === this.current) this._askReceipts();
    if (event.room !== this.current) this.store.trim(event.room);
    else if (!this.store.rooms.has(this.current)) this.open(null);
    this._changed();
  }

  _concernsMe(event) {
    if (event.type !== "notification") return;
    this.notifications.came(event);
    if (event.erased || !["invitation", "moderation"].includes(event.data.cause)) return;
    this._list.refreshSoon();
    this._tell("notice", { text: `${notificationLine(event)}.`, bad: false });
  }

  _signal({ name, detail }) {
    if (name === "typing") this._heardTyping(detail);
    else if (name === "presence") this.presence.heard(detail);
    else if (name === "draft") this.drafts.heard(detail);
    else if (name === "notification.read") this.notifications.heard(detail);
    else if (name === "read") this._heardRead(detail);
    else if (name === "thread.read") this._list.refreshSoon();
    else if (name === "invocation") this._heardOfCommand(detail);
    else if (name === "scheduled" && detail.state === "failed") {
      this._tell("notice", { text: `A scheduled message was not sent: ${detail.reason ?? detail.code}`, bad: true });
    }
  }

  _heardTyping({ room, user, thread }) {
    if (user === this.me.id || !this.store.rooms.get(room)?.joined) return;
    this._typing.heard(thread ? `${room} ${thread}` : room, user, Date.now());
    if (room !== this.current) return;
    this._changed();
    setTimeout(() => this._changed(), TYPING_MS + 50);
  }

  _heardRead(detail) {
    if (detail.user === this.me.id) {
      this.store.readElsewhere(detail);
      if (detail.back) this._list.refreshSoon();
    } else {
      this.store.rooms.get(detail.room)?.receipts?.set(detail.user, detail.sequence);
    }
    this._changed();
  }

  /** What a bot answers to this user alone is shown in the room until the page is left; any other answer is a message. */
  _heardOfCommand({ invocation, room, name, bot, state, only_you: aside, body }) {
    const known = this.store.rooms.get(room);
    if (!known || (state === "answered" && !aside) || state === "waiting") return;
    const text = state === "expired" ? `${bot.name} did not answer /${name}.` : body;
    if (!known.asides.some(({ id }) => id === invocation)) known.asides.push({ id: invocation, bot, text, at: new Date().toISOString() });
    this._changed();
  }

  async _tellRead(room, sequence) {
    const told = await this._connection.command("read", { room, sequence });
    if (this.store.rooms.get(room)?.read === told.sequence) this.store.readElsewhere({ ...told, room });
    this._changed();
  }

  _reset({ room, sequence }) {
    if (room === `user:${this.me.id}`) return;
    if (room === this.current) this._history.reset(room, sequence);
    else this.store.reset(room, sequence);
    if (room === this.thread?.roomId) this.thread.load();
    this._list.refreshSoon();
    this._changed();
  }

  _loadOpened() {
    this._history.fill(this.room);
    this.loadMembers();
    this._askReceipts();
  }

  async _askReceipts() {
    const { room } = this;
    if (!room || room.memberCount > RECEIPTS_UP_TO || this.status !== "online") return;
    try {
      const { receipts = [] } = await this._connection.command("receipts", { room: room.id });
      room.receipts = new Map(receipts.map(({ user, sequence }) => [user, sequence]));
      this._changed();
    } catch {
      // Who has read is a comfort; the next opening or connect asks again.
    }
  }

  _lookAround() {
    if (this.status !== "online") return;
    const direct = this.store.joined().filter(({ kind, users }) => kind === "direct" && users.length > 1);
    this.presence.look(this.current, direct.map(({ id }) => id));
  }

  _listTaken() {
    if (this.current && !this.store.rooms.has(this.current)) this.open(null);
    this._outbox.resume();
    this._lookAround();
    this._changed();
  }

  _sendRefused(roomId, { code, data }) {
    const room = this.store.rooms.get(roomId);
    if (code === "muted") room.muted = { until: data?.muted_until ?? null };
    if (data?.next_post_at) room.nextPostAt = Date.parse(data.next_post_at);
  }

  _historyFailed(error) {
    // Without a connection the bar at the top says it all, and the next connect loads again.
    if (error.code === "disconnected") return;
    this._tell("notice", { text: `Messages could not be loaded: ${error.message}`, bad: true });
  }

  _changed() {
    this._tell("changed", null);
  }

  _tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
