/**
 * Who is signed in, shared by all tabs through localStorage.
 *
 * Refresh tokens rotate: each may be used once. So a refresh happens under a lock that all tabs share, and whoever gets
 * the lock first looks whether another tab has refreshed meanwhile.
 *
 * Events: `ended` (detail `{code, message}` or null): the session is over, here or in another tab.
 */

import { RequestError, request } from "./api.js";
import { withLock } from "./lock.js";

const KEY = "parley.session";
const RETURNING_KEY = "parley.returning";
const MARGIN_MS = 60_000;
const LONGEST_TIMER_MS = 2_000_000_000;
const OVER = new Set(["invalid_token", "expired_token", "revoked_token", "invalid_credentials", "banned", "not_found"]);

export class Session extends EventTarget {
  constructor() {
    super();
    this._timer = 0;
    this._known = read()?.user_id ?? null;
    addEventListener("storage", (change) => {
      if (change.key === KEY || change.key === null) this._changedElsewhere();
    });
    this._schedule();
  }

  /** The signed-in user `{id, name}`, or null. */
  get user() {
    const stored = read();
    return stored && { id: stored.user_id, name: stored.username };
  }

  /** Whether someone has signed in with this browser before. */
  get returning() {
    return localStorage.getItem(RETURNING_KEY) !== null;
  }

  /** Signs in (`mode` "login") or signs up ("register"). Raises `RequestError`. */
  async begin(mode, username, password) {
    await this._begun(await request("POST", `/auth/${mode}`, { body: { username, password } }), username);
  }

  /** Goes on with a login that asked for more than a password, or begins one without. Raises `RequestError`. */
  async enter(path, body, username = "You") {
    await this._begun(await request("POST", path, { body }), username);
  }

  /** Signs in with the code that a login at an identity provider ended with. Raises `RequestError`. */
  async exchange(code) {
    await this._begun(await request("POST", "/auth/oidc/token", { body: { code } }), "You");
  }

  /**
   * An access token that is good for a while yet. `refused` names a token that the server did not take: it is not
   * handed out again. Raises `RequestError`, after `ended` when the session is over.
   */
  async token({ refused = null } = {}) {
    const stored = read();
    if (!stored) throw new RequestError({ code: "missing_token", message: "You are signed out." }, 401);
    if (stored.access_token !== refused && stored.renew_at > Date.now()) return stored.access_token;
    return withLock(KEY, () => this._refresh(refused));
  }

  /**
   * Signs out: here and in all tabs at once, on the server as soon as it hears of it. Who wanted it themselves, and not
   * for a `reason` of the server's, signs out at their identity provider as well.
   */
  async end(reason = null) {
    const stored = read();
    this._clear(reason);
    const answer = stored && (await revoke(stored));
    if (!reason && answer?.logout_url) location.assign(answer.logout_url);
  }

  async _begun(granted, username) {
    // The account's own spelling: usernames are the same whatever their case.
    const me = await request("GET", "/auth/me", { token: granted.access_token }).catch(() => null);
    this._known = granted.user_id;
    this._store(granted, me?.name ?? username);
    localStorage.setItem(RETURNING_KEY, "1");
  }

  async _refresh(refused) {
    const stored = read();
    if (!stored) throw new RequestError({ code: "missing_token", message: "You are signed out." }, 401);
    if (stored.access_token !== refused && stored.renew_at > Date.now()) return stored.access_token;
    try {
      const granted = await request("POST", "/auth/refresh", { body: { refresh_token: stored.refresh_token } });
      // Signed out while the answer was on its way: what it grants must not outlive that.
      if (read()?.refresh_token !== stored.refresh_token) {
        await revoke(granted);
        throw new RequestError({ code: "missing_token", message: "You are signed out." }, 401);
      }
      this._store(granted, stored.username);
      return granted.access_token;
    } catch (error) {
      if (OVER.has(error.code)) this._clear(wordsFor(error));
      throw error;
    }
  }

  _store(granted, username) {
    const lifetime = granted.expires_in * 1000;
    const renewAt = Date.now() + lifetime - Math.min(MARGIN_MS, lifetime / 4);
    localStorage.setItem(KEY, JSON.stringify({ ...granted, username, renew_at: renewAt }));
    this._schedule();
  }

  /** Renews in time by itself, so that a tab left open for weeks stays signed in. */
  _schedule() {
    clearTimeout(this._timer);
    const stored = read();
    if (!stored) return;
    const wait = Math.max(stored.renew_at - Date.now(), 0) + 1000 + Math.random() * 4000;
    this._timer = setTimeout(async () => {
      await this.token().catch(() => {});
      // A failed renewal (server down) is tried again later; a done one has scheduled the next itself.
      if (read() && read().renew_at < Date.now()) this._timer = setTimeout(() => this._schedule(), 30_000);
    }, Math.min(wait, LONGEST_TIMER_MS));
  }

  _clear(reason) {
    clearTimeout(this._timer);
    this._known = null;
    localStorage.removeItem(KEY);
    this.dispatchEvent(new CustomEvent("ended", { detail: reason }));
  }

  _changedElsewhere() {
    const user = read()?.user_id ?? null;
    if (user === this._known) this._schedule();
    else if (user) location.reload();
    else this._clear(null);
  }
}

function revoke({ refresh_token }) {
  return request("POST", "/auth/logout", { body: { refresh_token } }).catch(() => {});
}

function wordsFor(error) {
  const message = error.code === "banned" ? error.message : "Your session has ended. Please sign in again.";
  return { code: error.code, message };
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY));
  } catch {
    return null;
  }
}
