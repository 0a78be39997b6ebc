/** Loading the past of rooms: older pages on request, and what went missing in between by itself. */

const PAGE = 50;
const REPAIR_PAGE = 200;
const REPAIR_PAGES = 5;

export class History {
  /**
   * `query(range)` asks the server for a page `{events, more}`; `apply(event)` takes an event in; `changed()` and
   * `failed(error)` tell the page.
   */
  constructor(store, { query, apply, changed, failed }) {
    this._store = store;
    this._query = query;
    this._apply = apply;
    this._changed = changed;
    this._failed = failed;
    this._loading = new Map();
    this._repairing = new Set();
  }

  /** Whether a page of the room is on its way. */
  isLoading(roomId) {
    return this._loading.has(roomId);
  }

  /** Makes sure that a room just opened has something to show. */
  fill(room) {
    if (room.events.length === 0 || (room.more && room.events.length < PAGE)) this.older(room.id);
  }

  /** Loads the page before the oldest event; at most one load a room at a time. */
  older(roomId) {
    this.loadOlder(roomId);
  }

  /** The same, for who waits until it is there. */
  async loadOlder(roomId) {
    const room = this._store.rooms.get(roomId);
    if (this._loading.has(roomId)) return this._loading.get(roomId);
    if (!room || (!room.more && room.last !== null)) return undefined;
    const before = this._store.olderThan(roomId);
    const load = this._query({ room: roomId, limit: PAGE, ...(before && { before }) })
      .then(({ events, more, ...page }) => this._store.merge(roomId, events, more, { ...page, asked: before }), this._failed)
      .finally(() => {
        this._loading.delete(roomId);
        this._changed();
      });
    this._loading.set(roomId, load);
    this._changed();
    return load;
  }

  /** Events are missing before one that is known to exist: fetch them. Too many, and starting afresh is quicker. */
  async repair(roomId) {
    if (this._repairing.has(roomId)) return;
    this._repairing.add(roomId);
    try {
      for (let page = 1; page <= REPAIR_PAGES; page += 1) {
        const after = this._store.rooms.get(roomId)?.last ?? null;
        if (after === null) return;
        const { events, more } = await this._query({ room: roomId, after, limit: REPAIR_PAGE, raw: true });
        for (const event of events) this._apply(event);
        if (!more) return;
      }
      this.reset(roomId, null);
    } catch {
      // Still behind: the next event, or the cursors of the next connect, set this off again.
    } finally {
      this._repairing.delete(roomId);
    }
  }

  /** Throws the local copy of a room away; `sequence` is its end if known, `null` takes the next page's. */
  reset(roomId, sequence) {
    this._store.reset(roomId, sequence);
    this.older(roomId);
    this._changed();
  }
}
