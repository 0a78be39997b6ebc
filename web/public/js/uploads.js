/** Files on their way to the server, and addresses of those that are there. */

import { sha256 } from "./sha256.js";

const TRIES = 3;
const MARGIN_MS = 30_000;

/** Uploads one file. `changed` is called as `state` goes from "sending" to "ready" or "failed", and with `progress` of 0 to 1. */
export class Upload {
  constructor(api, file, changed) {
    Object.assign(this, { file, name: file.name || "image.png", size: file.size, type: file.type, state: "sending", progress: 0, error: "", id: null });
    this._api = api;
    this._changed = changed;
    this._stop = new AbortController();
    this._run();
  }

  /** Gives it up. */
  cancel() {
    this._stop.abort();
    if (this.id) this._api.dropUpload(this.id).catch(() => {});
  }

  async _run() {
    try {
      const bytes = await this.file.arrayBuffer();
      const type = this.type || "text/plain";
      const place = await this._api.announce({ name: this.name, size: bytes.byteLength, type, sha256: await sha256(bytes) });
      this.id = place.id;
      if (!place.parts) throw new Error("This server takes files by another way than this page has.");
      for (let part = 0; part < place.parts; part += 1) {
        const from = part * place.part_size;
        await this._part(part, bytes.slice(from, from + place.part_size), from);
      }
      Object.assign(this, { ...(await this._api.completeUpload(place.id)).upload, state: "ready", progress: 1 });
    } catch (error) {
      if (this._stop.signal.aborted) return;
      Object.assign(this, { state: "failed", error: error.message });
    }
    this._changed();
  }

  async _part(part, bytes, from) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const progress = (sent) => this._sent(from + sent);
        return await this._api.sendPart(this.id, part, bytes, { progress, signal: this._stop.signal });
      } catch (error) {
        if (!error.retryable || attempt >= TRIES || this._stop.signal.aborted) throw error;
      }
    }
  }

  _sent(bytes) {
    this.progress = Math.min(bytes / this.size, 1);
    this._changed();
  }
}

/** Addresses of files that messages have. They are good for some minutes; those that are asked for together are asked once. */
export class FileAddresses {
  constructor(command) {
    this._command = command;
    this._known = new Map();
    this._waiting = new Map();
  }

  /** `{url, thumbnail_url}` of a file, or null for one that this user may not have. Raises `RequestError`. */
  of(id) {
    const known = this._known.get(id);
    if (known && new Date(known.expires_at) - Date.now() > MARGIN_MS) return Promise.resolve(known);
    if (!this._waiting.has(id)) {
      if (this._waiting.size === 0) setTimeout(() => this._ask(), 10);
      this._waiting.set(id, Promise.withResolvers());
    }
    return this._waiting.get(id).promise;
  }

  async _ask() {
    const asked = [...this._waiting].slice(0, 100);
    for (const [id] of asked) this._waiting.delete(id);
    if (this._waiting.size > 0) setTimeout(() => this._ask(), 10);
    try {
      const { files } = await this._command("files", { uploads: asked.map(([id]) => id) });
      for (const file of files) this._known.set(file.id, file);
      for (const [id, { resolve }] of asked) resolve(files.find((file) => file.id === id) ?? null);
    } catch (error) {
      for (const [, { reject }] of asked) reject(error);
    }
  }
}

/** Addresses of the files of a reported message, for who sees the report: also when the message is deleted. */
export class ReportedFiles {
  /** `ask` returns them all, as `report.files` does. */
  constructor(ask) {
    this._ask = ask;
  }

  /** `{url, thumbnail_url}` of a file, or null for one that is gone. Raises `RequestError`. */
  async of(id) {
    const { files } = await this._ask();
    return files.find((file) => file.id === id) ?? null;
  }
}

/** A size as people read it. */
export function sizeText(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  let size = bytes;
  let unit = 0;
  for (; size >= 1000 && unit < units.length - 1; unit += 1) size /= 1024;
  return `${unit === 0 || size >= 10 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}
