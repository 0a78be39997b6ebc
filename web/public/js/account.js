/** What a user asks the server about their own account. */

import { request } from "./api.js";

export class Account {
  constructor(session) {
    this._session = session;
  }

  me() {
    return this._ask("GET", "/auth/me");
  }

  /** `{totp_since, recovery_codes_left, passkeys}`. */
  factors() {
    return this._ask("GET", "/auth/factors");
  }

  /** The domain that passkeys are for, or an empty text. */
  async passkeysFor() {
    return (await request("GET", "/auth/providers")).passkeys_for;
  }

  /** Where this user is signed in: `[{id, device, address, method, created_at, last_used_at, current}]`. */
  async sessions() {
    return (await this._ask("GET", "/auth/sessions")).sessions;
  }

  endSession(id) {
    return this._ask("DELETE", `/auth/sessions/${encodeURIComponent(id)}`);
  }

  /** Ends all sessions but this one. */
  endOtherSessions() {
    return this._ask("DELETE", "/auth/sessions");
  }

  giveEmail(email, password) {
    return this._ask("PUT", "/auth/me/email", { email, password });
  }

  confirmEmail(token) {
    return this._ask("POST", "/auth/me/email/confirm", { token });
  }

  /** What factors are changed with. `shown` is a factor where one is on. Raises `second_factor_required` without it. */
  async prove(password, shown = {}) {
    return (await this._ask("POST", "/auth/factors/proof", { password, ...shown })).proof;
  }

  beginApp(proof) {
    return this._ask("POST", "/auth/factors/totp", { proof });
  }

  async confirmApp(code) {
    return (await this._ask("POST", "/auth/factors/totp/confirm", { code })).recovery_codes;
  }

  removeApp(proof) {
    return this._ask("DELETE", "/auth/factors/totp", { proof });
  }

  async newRecoveryCodes(proof) {
    return (await this._ask("POST", "/auth/factors/recovery-codes", { proof })).recovery_codes;
  }

  async passkeyOptions(proof) {
    return (await this._ask("POST", "/auth/passkeys/options", { proof })).public_key;
  }

  async addPasskey(passkey, name) {
    return (await this._ask("POST", "/auth/passkeys", { passkey, name })).recovery_codes;
  }

  removePasskey(id, proof) {
    return this._ask("DELETE", `/auth/passkeys/${encodeURIComponent(id)}`, { proof });
  }

  async _ask(method, path, body) {
    return request(method, path, { body, token: await this._session.token() });
  }
}
