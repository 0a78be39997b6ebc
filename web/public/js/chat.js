/**
 * What the user does and what the server tells, brought together: the one place that moves data between the connection,
 * the REST queries and the store. It knows nothing of the page.
 *
 * Events: `changed` (render again), `message` (detail: a message of someone else that has just come), `notice` (detail
 * {text, bad}), `stopped` (detail {code, message, kicked}: connected no more, and not trying).
 */

import { Api, RequestError } from "./api.js";
import { Connection } from "./connection.js";
import { History } from "./history.js";
import { newId } from "./identifiers.js";
import { Outbox } from "./outbox.js";
import { ReadMarks } from "./read_marks.js";
import { Store } from "./store.js";
import { Typing, TYPING_MS } from "./typing.js";

const COMMAND_TRIES = 4;
const LIST_PAGE = 500;
const LIST_PAGES = 4;
const CATCH_UP_MS = 1_500;

export class Chat extends EventTarget {
  constructor(session) {
    super();
    this.me = session.user;
    this.store = new Store(this.me.id);
    this.current = null;
    this.ready = false;
    this._api = new Api(session);
    this._typing = new Typing();
    this._marks = new ReadMarks(this.me.id, (marks) => this._readElsewhere(marks));
    this._connection = new Connection(session, () => this.store.cursors());
    this._outbox = new Outbox(this._connection, this.store, () => this._changed());
    this._history = new History(this.store, {
      query: (range) => this._command("history", range, { id: false }),
      apply: (event) => this._event(event),
      changed: () => this._changed(),
      failed: (error) => this._historyFailed(error),
    });
    this._refreshTimer = 0;
    this._moves = 0;
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
        await this._refresh();
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
    this._stopped = true;
    clearTimeout(this._refreshTimer);
    this._outbox.stop();
    this._marks.close();
    this._connection.close();
  }

  /** Connects again: now if it is trying anyway, and on request after a kick. */
  reconnect() {
    if (this.status === "stopped") this._connection.open();
    else this._connection.hurry();
  }

  /** Opens a room of ours, or none with null. */
  open(roomId) {
    this.current = this.store.rooms.get(roomId)?.joined ? roomId : null;
    this._changed();
    if (this.current) this._loadOpened();
  }

  /** Loads the page before the oldest event. */
  loadOlder(roomId) {
    this._history.older(roomId);
  }

  /** Whether history of the room is being loaded. */
  isLoading(roomId) {
    return this._history.isLoading(roomId);
  }

  send(body) {
    this._outbox.send(this.current, body);
  }

  /** Tells the others in the open room that this user is writing. */
  typing() {
    if (this.status !== "online" || !this._typing.tells(this.current, Date.now())) return;
    // Nobody misses it: it is said again while the user goes on.
    this._connection.command("typing", { room: this.current }).catch(() => {});
  }

  /** The names of the others who are writing in the open room. */
  whoTypes() {
    const members = this.room?.members;
    return this._typing.users(this.current, Date.now()).map((user) => members?.get(user)?.name ?? "Someone");
  }

  retry(messageId) {
    this._outbox.retry(this.current, messageId);
  }

  discard(messageId) {
    this._outbox.discard(this.current, messageId);
  }

  /** Notes that the open room was read to its end. */
  markRead() {
    const { room } = this;
    if (!room || room.last === null || !this.store.markRead(room.id, room.last)) return;
    this._marks.set(room.id, room.last);
    this._changed();
  }

  /** Makes a room and opens it. Raises `RequestError`. */
  async createRoom(name, kind) {
    const { room } = await this._command("room.create", { name, kind });
    this._moves += 1;
    this.store.addJoined({ name, kind, ...room });
    this.open(room.id);
  }

  /** Joins a room as listed, or accepts the invitation to it, and opens it. Raises `RequestError`. */
  async joinRoom(info) {
    const { room } = await this._command("room.join", { room: info.id });
    this._moves += 1;
    this.store.addJoined({ ...info, ...room });
    this.open(info.id);
  }

  /** Leaves a room. Raises `RequestError`. */
  async leaveRoom(roomId) {
    await this._command("room.leave", { room: roomId });
    this._moves += 1;
    this.store.remove(roomId);
    if (this.current === roomId) this.current = null;
    this._changed();
  }

  /** Invites a user `{id, name}`. Raises `RequestError`. */
  async invite(roomId, user) {
    await this._command("room.invite", { room: roomId, user });
  }

  /** Public rooms by name, and our own: `{rooms, more}`. Raises `RequestError`. */
  browse(search) {
    return this._api.rooms({ search, limit: 50 });
  }

  /** Loads the member list of the open room. */
  async loadMembers() {
    const roomId = this.current;
    try {
      const { members, more } = await this._api.members(roomId);
      this.store.setMembers(roomId, members, more);
      this._changed();
    } catch {
      // The count from the room list stands; the next opening or connect asks again.
    }
  }

  _listen() {
    const connection = this._connection;
    connection.addEventListener("status", ({ detail }) => this._status(detail));
    connection.addEventListener("event", ({ detail }) => this._event(detail));
    connection.addEventListener("typing", ({ detail }) => this._heardTyping(detail));
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
    if (this.current) this._loadOpened();
    this._refreshSoon(); // rooms joined or left from elsewhere while this page was away
  }

  _event(event) {
    const outcome = this.store.apply(event);
    if (outcome === "gap") this._history.repair(event.room);
    if (outcome === "unknown") this._heardOfUnknown(event);
    if (outcome !== "applied") return;
    if (event.type === "message.sent" || event.type === "member.left") this._typing.stopped(event.room, event.actor.id);
    if (event.type === "message.sent" && event.actor.id !== this.me.id) this._tell("message", event);
    if (event.room !== this.current) this.store.trim(event.room);
    else if (!this.store.rooms.has(this.current)) this.current = null;
    this._changed();
  }

  _heardTyping({ room, user, thread }) {
    if (user === this.me.id || thread || !this.store.rooms.get(room)?.joined) return;
    this._typing.heard(room, user, Date.now());
    if (room !== this.current) return;
    this._changed();
    setTimeout(() => this._changed(), TYPING_MS + 50);
  }

  _heardOfUnknown(event) {
    this._refreshSoon();
    if (event.type !== "member.invited" || event.data?.user?.id !== this.me.id) return;
    this._tell("notice", { text: `${event.actor.name} invited you to a room.`, bad: false });
  }

  _reset({ room, sequence }) {
    if (room === this.current) this._history.reset(room, sequence);
    else this.store.reset(room, sequence);
    this._changed();
  }

  _loadOpened() {
    this._history.fill(this.room);
    this.loadMembers();
  }

  _historyFailed(error) {
    // Without a connection the bar at the top says it all, and the next connect loads again.
    if (error.code === "disconnected") return;
    this._tell("notice", { text: `Messages could not be loaded: ${error.message}`, bad: true });
  }

  /** A command with an id of its own, repeated under it while the error says that this may help. */
  async _command(name, payload, { id = true } = {}) {
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

  async _refresh() {
    let list;
    let asked;
    do {
      // A list asked for before a join or leave of ours would undo it.
      asked = this._moves;
      list = await this._list();
    } while (asked !== this._moves);
    this.store.takeList(list, this._marks.all());
    setTimeout(() => this._catchUp(list.rooms), CATCH_UP_MS);
    for (const room of this.store.joined()) if (room.last !== null) this._marks.begin(room.id, room.read);
    if (this.current && !this.store.rooms.has(this.current)) this.current = null;
    this._outbox.resume();
    this._changed();
  }

  async _list() {
    const rooms = [];
    for (let page = 1; ; page += 1) {
      const part = await this._api.rooms({ before: rooms.at(-1)?.id, limit: LIST_PAGE });
      rooms.push(...part.rooms);
      if (!part.more || page === LIST_PAGES) return { rooms, more: part.more };
    }
  }

  /** What the server counts further than we do, after the events on their way had time to come, is fetched. */
  _catchUp(listed) {
    if (this.status !== "online") return;
    for (const { id, head } of listed) {
      const last = this.store.rooms.get(id)?.last ?? null;
      if (last !== null && last < head) this._history.repair(id);
    }
  }

  _refreshSoon() {
    clearTimeout(this._refreshTimer);
    this._refreshTimer = setTimeout(() => this._refresh().catch(() => {}), 150);
  }

  _readElsewhere(marks) {
    for (const [room, sequence] of Object.entries(marks)) this.store.markRead(room, sequence);
    this._changed();
  }

  _changed() {
    this._tell("changed", null);
  }

  _tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
