/**
 * What the user does and what the server tells, brought together: the one place that moves data between the connection,
 * the REST queries and the store. It knows nothing of the page.
 *
 * Events: `changed` (render again), `message` (detail: a message of someone else that has just come), `notice` (detail
 * {text, bad}), `draft` (written on another device), `stopped` (detail {code, message, kicked}: connected no more, and
 * not trying).
 */

import { Api } from "./api.js";
import { Arrivals } from "./arrivals.js";
import { Connection } from "./connection.js";
import { Drafts } from "./drafts.js";
import { History } from "./history.js";
import { newId } from "./identifiers.js";
import { Notifications } from "./notifications.js";
import { Outbox } from "./outbox.js";
import { Presence } from "./presence.js";
import { ReadMarks } from "./read_marks.js";
import { RoomList } from "./room_list.js";
import { Rooms } from "./rooms.js";
import { Store } from "./store.js";
import { Thread } from "./thread.js";
import { Typing } from "./typing.js";
import { FileAddresses } from "./uploads.js";

const MOST_JUMPED = 8;

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
    this.drafts = new Drafts((name, payload) => this._connection.command(name, payload), () => this.tell("draft", null));
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
      apply: (event) => this._arrivals.event(event),
      changed,
      failed: (error) => this._historyFailed(error),
    });
    this._list = new RoomList(this.api, this.store, {
      pending: () => this._marks.pending(),
      online: () => this.status === "online",
      taken: () => this._listTaken(),
      behind: (room) => this._history.repair(room),
    });
    this.rooms = new Rooms(this, this._list);
    this._arrivals = new Arrivals(this, { list: this._list, history: this._history, typing: this._typing });
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
  command(name, payload, { id = true } = {}) {
    return this._connection.insist(name, id ? { id: newId(), ...payload } : payload);
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

  /** Runs work whose failure is told in a notice; returns whether there was none. */
  async attempt(work) {
    try {
      await work();
      return true;
    } catch (error) {
      this.tell("notice", { text: error.message, bad: true });
      return false;
    }
  }

  /** Tells the page; see above for the types. */
  tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
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
    // What is told of it may come before the ack, and would be read at once where the room is open.
    this.open(null);
    try {
      const ack = await this.command("unread.mark", { room: roomId, sequence }, { id: false });
      this.store.readElsewhere({ ...ack, room: roomId, back: true });
    } catch (error) {
      if (!this.current) this.open(roomId);
      throw error;
    }
    this._changed();
  }

  /** Notes that the open thread was read to its end; of one that is not followed there is nothing to note. */
  markThreadRead() {
    const { thread } = this;
    if (!thread || thread.loading || thread.last <= (thread.readTo ?? 0)) return;
    thread.readTo = thread.last;
    this._connection.command("thread.read", { room: thread.roomId, thread: thread.root, sequence: thread.last }).catch(() => {});
  }

  _stateToTell() {
    const { choice } = this.presence;
    return { cursors: this.store.cursors(), ...(this._log && { log: this._log }), ...(choice !== "automatic" && { presence: choice }) };
  }

  _listen() {
    const connection = this._connection;
    connection.addEventListener("status", ({ detail }) => this._status(detail));
    connection.addEventListener("event", ({ detail }) => this._arrivals.event(detail));
    connection.addEventListener("signal", ({ detail }) => this._arrivals.signal(detail));
    connection.addEventListener("reset", ({ detail }) => this._arrivals.reset(detail));
    connection.addEventListener("kicked", ({ detail }) => {
      this.tell("stopped", { code: detail.code, message: detail.reason ?? "", kicked: true });
    });
    connection.addEventListener("refused", ({ detail }) => this.tell("stopped", { ...detail, kicked: false }));
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

  async _tellRead(room, sequence) {
    const told = await this._connection.command("read", { room, sequence });
    if (this.store.rooms.get(room)?.read === told.sequence) this.store.readElsewhere({ ...told, room });
    this._changed();
  }

  _loadOpened() {
    this._history.fill(this.room);
    this.rooms.loadMembers();
    this.rooms.askReceipts();
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
    this.tell("notice", { text: `Messages could not be loaded: ${error.message}`, bad: true });
  }

  _changed() {
    this.tell("changed");
  }
}
