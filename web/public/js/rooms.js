/** This user's rooms: making, joining and leaving them, and what this user is in them. */

/** Receipts are shown in rooms of so many members. */
const RECEIPTS_UP_TO = 100;

export class Rooms {
  /** `list` keeps the store's list as the server has it. */
  constructor(chat, list) {
    this._chat = chat;
    this._list = list;
  }

  /** Makes a room and opens it. Raises `RequestError`. */
  async create(name, kind) {
    await this._enter("room.create", { name, kind }, { name, kind });
  }

  /** Joins a room as listed, or accepts the invitation to it, and opens it. Raises `RequestError`. */
  async join(info) {
    await this._enter("room.join", { room: info.id }, info);
  }

  /** Joins the room that a link leads to, and opens it. Raises `RequestError`. */
  async joinByLink(code) {
    await this._enter("room.join", { invite: code }, {});
  }

  /** Finds or makes the direct room with users `{id, name}`, and opens it. Raises `RequestError`. */
  async direct(users) {
    this._chat.store.meet(...users);
    await this._enter("room.direct", { users: users.map(({ id }) => id) }, {});
  }

  /** Leaves a room, or declines an invitation. Raises `RequestError`. */
  async leave(roomId) {
    const chat = this._chat;
    await chat.command("room.leave", { room: roomId });
    this._list.moved();
    chat.store.remove(roomId);
    chat.open(chat.current === roomId ? null : chat.current);
  }

  /** Invites a user `{id, name}`. Raises `RequestError`. */
  async invite(roomId, user) {
    await this._chat.command("room.invite", { room: roomId, user });
  }

  /** Public rooms by name, and our own: `{rooms, more}`. Raises `RequestError`. */
  browse(search) {
    return this._chat.api.rooms({ search, limit: 50 });
  }

  /** This user's role in a room, as far as its members are known. */
  role(room = this._chat.room) {
    return room?.members?.get(this._chat.me.id)?.role ?? "member";
  }

  /** Whether this user moderates a room. */
  moderates(room = this._chat.room) {
    return this.role(room) !== "member" && room.kind !== "direct";
  }

  /** The moment from which on this user may write in a room again, in milliseconds; 0 for now. */
  mayWriteAt(room) {
    if (!room.slowSeconds || this.moderates(room)) return 0;
    const own = room.events.findLast(({ type, actor }) => type === "message.sent" && actor.id === this._chat.me.id);
    return Math.max(own ? Date.parse(own.at) + room.slowSeconds * 1000 : 0, room.nextPostAt ?? 0);
  }

  /** Loads the member list of the open room. */
  async loadMembers() {
    const roomId = this._chat.current;
    try {
      const { members, more } = await this._chat.api.members(roomId);
      this._chat.store.setMembers(roomId, members, more);
      this._chat.tell("changed");
    } catch {
      // The count from the room list stands; the next opening or connect asks again.
    }
  }

  /** Asks who has read the open room, and to be told from now on. */
  async askReceipts() {
    const { room, status } = this._chat;
    if (!room || room.memberCount > RECEIPTS_UP_TO || status !== "online") return;
    try {
      const { receipts = [] } = await this._chat.command("receipts", { room: room.id }, { id: false });
      room.receipts = new Map(receipts.map(({ user, sequence }) => [user, sequence]));
      this._chat.tell("changed");
    } catch {
      // Who has read is a comfort; the next opening or connect asks again.
    }
  }

  async _enter(name, payload, info) {
    const { room, sequence } = await this._chat.command(name, payload);
    this._list.moved();
    this._chat.store.addJoined({ ...info, ...room }, sequence);
    this._chat.open(room.id);
  }
}
