/** Keeps the store's list of rooms as the server has it: asked for at the start, after each connect, and when in doubt. */

const PAGES = 10;
const CATCH_UP_MS = 1_500;
const SOON_MS = 150;
/** Direct rooms whose people are looked up, to know what they are called. */
const MOST_NAMED = 40;

export class RoomList {
  /** `taken` is called after a list was taken in, `behind(room)` for rooms of which events are missing. */
  constructor(api, store, { pending, online, taken, behind }) {
    this._api = api;
    this._store = store;
    this._pending = pending;
    this._online = online;
    this._taken = taken;
    this._behind = behind;
    this._timer = 0;
    this._moves = 0;
  }

  /** A join or leave of ours was just acked: a list asked for before it would undo it. */
  moved() {
    this._moves += 1;
  }

  /** Asks again in a moment; several wishes are one question. */
  refreshSoon() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this.refresh().catch(() => {}), SOON_MS);
  }

  close() {
    clearTimeout(this._timer);
  }

  /** Raises `RequestError`. */
  async refresh() {
    let list;
    let asked;
    do {
      asked = this._moves;
      list = await this._all();
    } while (asked !== this._moves);
    this._store.takeList(list, this._pending());
    setTimeout(() => this._catchUp(list.rooms), CATCH_UP_MS);
    this._taken();
    this._name();
  }

  async _all() {
    const rooms = [];
    let next = "";
    for (let page = 1; ; page += 1) {
      const part = await this._api.myRooms(next);
      rooms.push(...part.rooms);
      if (!part.more || page === PAGES) return { rooms, more: part.more };
      next = part.next;
    }
  }

  /** What the server counts further than we do, after the events on their way had time to come, is fetched. */
  _catchUp(listed) {
    if (!this._online()) return;
    for (const { id, head } of listed) {
      const last = this._store.rooms.get(id)?.last ?? null;
      if (last !== null && last < head) this._behind(id);
    }
  }

  /** A direct room is called as its people are, of whom the list has ids alone. */
  async _name() {
    const unnamed = this._store.joined().filter((room) => room.kind === "direct" && room.users.some((id) => !this._store.people.has(id)));
    for (const room of unnamed.slice(0, MOST_NAMED)) {
      if (room.members) continue;
      try {
        const { members, more } = await this._api.members(room.id);
        this._store.setMembers(room.id, members, more);
      } catch {
        return; // asked again with the next list
      }
    }
    if (unnamed.length > 0) this._taken();
  }
}
