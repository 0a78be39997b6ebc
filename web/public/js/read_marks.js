/** Up to where this user has read each room, kept on this device and shared by its tabs. */

export class ReadMarks {
  /** `heard` is called with `{room: sequence}` when another tab has read on. */
  constructor(userId, heard) {
    this._key = `parley.read.${userId}`;
    this._listener = (change) => {
      if (change.key === this._key) heard(this.all());
    };
    addEventListener("storage", this._listener);
  }

  /** `{room: sequence}`. */
  all() {
    try {
      return JSON.parse(localStorage.getItem(this._key)) ?? {};
    } catch {
      return {};
    }
  }

  /** Moves a room's mark forward. */
  set(room, sequence) {
    const marks = this.all();
    if ((marks[room] ?? 0) >= sequence) return;
    localStorage.setItem(this._key, JSON.stringify({ ...marks, [room]: sequence }));
  }

  /** Marks a room that was never marked, so that what comes while this page is closed counts as unread. */
  begin(room, sequence) {
    if (!(room in this.all())) this.set(room, sequence);
  }

  close() {
    removeEventListener("storage", this._listener);
  }
}
