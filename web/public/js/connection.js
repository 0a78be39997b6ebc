/**
 * The socket: connects with a fresh token and the rooms' cursors, comes back after a loss by itself, and turns emits
 * into acked commands. It knows nothing of rooms.
 *
 * Events: `status` (detail "connecting" | "online" | "reconnecting" | "stopped"), `event` (a room's event), `reset`
 * ({room, sequence}), `signal` ({name, detail}: what is in no log, such as who types), `kicked` ({code, reason}), `refused`
 * ({code, message}: not welcome, nothing more is tried).
 */

import { RequestError } from "./api.js";

const ACK_TIMEOUT_MS = 8_000;
const TOKEN_CODES = new Set(["missing_token", "invalid_token", "expired_token"]);
const FINAL_CODES = new Set(["revoked_token", "banned"]);
const LONGEST_WAIT_MS = 10_000;
const TRIES = 4;

export class Connection extends EventTarget {
  /** `state` is asked at each connect what the server is told with it: `{cursors, presence}`. */
  constructor(session, state) {
    super();
    this._session = session;
    this._state = state;
    this._token = null;
    this._failures = 0;
    this._tokenFailures = 0;
    this._timer = 0;
    this.status = "connecting";
    this._socket = globalThis.io("/chat", {
      autoConnect: false,
      auth: (send) => this._authenticate(send),
      reconnectionDelay: 400,
      reconnectionDelayMax: 4_000,
      timeout: 10_000,
    });
    this._listen();
  }

  /** Connects; also again after `kicked`. */
  open() {
    clearTimeout(this._timer);
    this._setStatus(this.status === "stopped" ? "reconnecting" : this.status);
    this._socket.connect();
  }

  /** Disconnects for good. */
  close() {
    clearTimeout(this._timer);
    this._setStatus("stopped");
    this._socket.disconnect();
  }

  /** Does not wait for the next try: called when the network or the tab comes back. */
  hurry() {
    if (this.status !== "reconnecting" || this._socket.connected) return;
    this._socket.disconnect().connect();
  }

  /** Emits once and returns the ack's fields. Raises `RequestError`; `disconnected` and `timeout` are retryable. */
  async command(name, payload) {
    if (!this._socket.connected) {
      throw new RequestError({ code: "disconnected", message: "There is no connection right now.", retryable: true });
    }
    let ack;
    try {
      ack = await this._socket.timeout(ACK_TIMEOUT_MS).emitWithAck(name, payload);
    } catch {
      throw new RequestError({ code: "timeout", message: "The server did not answer in time.", retryable: true });
    }
    if (ack?.ok) return ack;
    throw new RequestError(ack?.error ?? { code: "internal", message: "The server's answer makes no sense." });
  }

  /** The same, repeated while the error says that this may help. */
  async insist(name, payload) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.command(name, payload);
      } catch (error) {
        if (!error.retryable || attempt >= TRIES || this.status === "stopped") throw error;
        await new Promise((resolve) => setTimeout(resolve, 300 * 2 ** attempt));
      }
    }
  }

  async _authenticate(send) {
    const refused = this._tokenFailures > 0 ? this._token : null;
    // Without a token (server down) the connect is sent all the same: its error sets off the next try.
    this._token = await this._session.token({ refused }).catch(() => this._token);
    send({ token: this._token ?? "", ...this._state() });
  }

  _listen() {
    const socket = this._socket;
    socket.on("connect", () => {
      this._failures = this._tokenFailures = 0;
      this._setStatus("online");
    });
    socket.on("connect_error", (error) => this._refused(error));
    socket.on("disconnect", (reason) => this._lost(reason));
    socket.onAny((name, detail) => {
      if (name === "kicked") this._kicked(detail ?? {});
      else if (name === "reset") this._tell("reset", detail);
      // Only events of a log have an id; a read cursor, too, has a room and a sequence.
      else if (detail?.room && detail.sequence > 0 && detail.event_id) this._tell("event", detail);
      else if (detail) this._tell("signal", { name, detail });
    });
    socket.io.on("reconnect_attempt", () => this._setStatus("reconnecting"));
  }

  /** Closes from this side too: a transport that just ends would make the library come back by itself. */
  _kicked(detail) {
    this.close();
    this._tell("kicked", detail);
  }

  _lost(reason) {
    if (this.status === "stopped") return;
    this._setStatus("reconnecting");
    // After a disconnect that the server asked for, the client library leaves it to us to come back.
    if (reason === "io server disconnect") this._later();
  }

  _refused(error) {
    if (this.status === "stopped") return;
    if (this._socket.active) return; // the transport failed; the library goes on trying
    const { code = "", message = error.message, retryable = true } = error.data ?? {};
    if (FINAL_CODES.has(code)) return this._giveUp(code, message);
    if (TOKEN_CODES.has(code)) {
      // Twice with a token fresh from the server: it will not take the third one either.
      this._tokenFailures += 1;
      if (this._tokenFailures > 2) return this._giveUp(code, message);
    } else if (!retryable) {
      return this._giveUp(code, message);
    }
    this._setStatus(this.status === "connecting" ? "connecting" : "reconnecting");
    this._later();
  }

  _giveUp(code, message) {
    this._setStatus("stopped");
    this._tell("refused", { code, message });
  }

  _later() {
    this._failures += 1;
    const wait = Math.min(LONGEST_WAIT_MS, 250 * 2 ** this._failures) * (0.5 + Math.random() / 2);
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._socket.connect(), wait);
  }

  _setStatus(status) {
    if (status === this.status) return;
    this.status = status;
    this._tell("status", status);
  }

  _tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
