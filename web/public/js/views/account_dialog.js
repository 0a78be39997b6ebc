/** The user's own account: their e-mail address, what is asked for besides their password, and where they are signed in. */

import { h } from "../dom.js";
import { makePasskey, passkeysWork, usePasskey } from "../passkeys.js";
import { sessionsSection } from "./account_sessions.js";
import { makeDialog, submitting } from "./dialog.js";
import { field } from "./sign_in_steps.js";

export class AccountDialog {
  constructor(account) {
    this._account = account;
    this._content = h("div", { class: "account", testid: "account" });
    this._error = h("p", { class: "form-error", role: "alert", testid: "account-error" });
  }

  show() {
    makeDialog("account", "Your account", this._content, this._error).showModal();
    return this._overview();
  }

  async _overview() {
    try {
      const [me, factors, domain] = await Promise.all([this._account.me(), this._account.factors(), this._account.passkeysFor()]);
      if (me.username === null) this._content.replaceChildren(h("p", {}, "You sign in elsewhere; your account is there."));
      else this._content.replaceChildren(this._email(me), this._factors(factors, domain), await sessionsSection(this._account, this._error));
    } catch (error) {
      this._error.textContent = error.message;
    }
  }

  _email(me) {
    const email = field("account-email", "E-mail address", { type: "email", maxlength: "254", autocomplete: "email", value: me.email ?? "" });
    const password = field("email-password", "Your password", { type: "password", maxlength: "256", autocomplete: "current-password" });
    const button = h("button", { class: "button", testid: "email-save" }, me.email ? "Change" : "Save");
    const told = h("p", { class: "field-hint", role: "status", testid: "email-told" },
      me.email ? "It is confirmed." : "With it you can set a new password when you have forgotten yours.");
    const form = h("form", { onsubmit: async (event) => {
      event.preventDefault();
      const address = email.input.value.trim();
      const sent = await submitting(button, this._error, () => this._account.giveEmail(address, password.input.value));
      if (sent) form.replaceWith(this._confirmation(address));
    } }, email.element, password.element, told, button);
    return h("section", {}, h("h3", {}, "E-mail"), form);
  }

  /** The link of a mail confirms an address, and so does its code here. */
  _confirmation(address) {
    const code = field("email-code", "Code of the mail", { autocomplete: "one-time-code", spellcheck: "false", maxlength: "64" });
    const button = h("button", { class: "button", testid: "email-confirm" }, "Confirm");
    return h("form", { onsubmit: async (event) => {
      event.preventDefault();
      if (await submitting(button, this._error, () => this._account.confirmEmail(code.input.value.trim()))) this._overview();
    } }, h("p", { class: "field-hint", role: "status", testid: "email-told" },
      `We have sent a mail to ${address}. Open its link, or enter its code, to confirm that the address is yours.`), code.element, button);
  }

  _factors({ totp_since: since, recovery_codes_left: left, passkeys }, domain) {
    const does = (testid, text, work) => h("button", { type: "button", class: "button", testid, onclick: () => this._prove(text, work) }, text);
    const rows = passkeys.map((each) => h("li", { testid: "passkey" }, h("span", {}, each.name),
      does("passkey-remove", "Remove", async (proof) => void (await this._account.removePasskey(each.id, proof)))));
    rows.unshift(h("li", {}, h("span", {}, since ? "Authenticator app: on" : "Authenticator app: off"), since
      ? does("app-remove", "Switch off", async (proof) => void (await this._account.removeApp(proof)))
      : does("app-begin", "Set up an app", (proof) => this._setUpApp(proof))));
    if (passkeysWork(domain)) rows.push(h("li", {}, h("span", {}, "Passkeys sign in by themselves."), does("passkey-add", "Add a passkey", (proof) => this._addPasskey(proof))));
    if (since || passkeys.length) {
      rows.push(h("li", {}, h("span", {}, `${left} recovery codes left`),
        does("codes-new", "New codes", (proof) => this._account.newRecoveryCodes(proof))));
    }
    return h("section", {}, h("h3", {}, "Sign-in"), h("ul", {}, ...rows));
  }

  /** Asks for the password, and for a factor where one is on; then works with the proof, and shows recovery codes it gives. */
  _prove(title, work, asked = null) {
    const password = field("proof-password", "Your password", { type: "password", maxlength: "256", autocomplete: "current-password" });
    const code = field("proof-code", "Code of your app, or a recovery code", { maxlength: "64", autocomplete: "one-time-code" });
    const button = h("button", { class: "button primary", testid: "proof-submit" }, "Continue");
    const go = async (shown) => {
      let proof;
      try {
        proof = await this._account.prove(password.input.value, shown);
      } catch (error) {
        if (error.code !== "second_factor_required") throw error;
        const known = password.input.value;
        this._prove(title, work, error.data).value = known;
        return;
      }
      await this._after(await work(proof));
    };
    const typed = () => {
      const text = code.input.value.replaceAll(/\s/gu, "");
      if (!asked || !text) return {};
      return /^[0-9]{6}$/u.test(text) ? { code: text } : { recovery_code: text };
    };
    const key = asked?.passkey && h("button", { type: "button", class: "button", testid: "proof-passkey",
      onclick: () => submitting(key, this._error, async () => go({ passkey: await usePasskey(asked.passkey) })) }, "Use a passkey");
    this._content.replaceChildren(h("form", { onsubmit: (event) => {
      event.preventDefault();
      submitting(button, this._error, () => go(typed()));
    } }, h("h3", {}, title), password.element, asked && code.element, h("div", { class: "dialog-actions" },
      h("button", { type: "button", class: "button", onclick: () => this._overview() }, "Cancel"), key, button)));
    (asked ? code : password).input.focus();
    return password.input;
  }

  async _setUpApp(proof) {
    const { secret, uri } = await this._account.beginApp(proof);
    const code = field("app-code", "The code it shows", { inputmode: "numeric", autocomplete: "one-time-code", maxlength: "6" });
    const button = h("button", { class: "button primary", testid: "app-confirm" }, "Switch on");
    this._content.replaceChildren(h("form", { onsubmit: (event) => {
      event.preventDefault();
      submitting(button, this._error, async () => this._after(await this._account.confirmApp(code.input.value)));
    } }, h("p", {}, "Give this secret to your authenticator app, or ", h("a", { href: uri }, "open it here"), "."),
      h("code", { testid: "app-secret" }, secret), code.element, h("div", { class: "dialog-actions" }, button)));
    code.input.focus();
    return null;
  }

  async _addPasskey(proof) {
    const passkey = await makePasskey(await this._account.passkeyOptions(proof));
    return this._account.addPasskey(passkey, `Passkey of ${new Date().toLocaleDateString()}`);
  }

  /** After a change: recovery codes if there are new ones, then the overview. `null` where there is a step yet to come. */
  async _after(codes) {
    if (codes === null) return;
    if (!codes?.length) return this._overview();
    this._content.replaceChildren(h("section", {}, h("h3", {}, "Your recovery codes"),
      h("p", {}, "Each signs you in once when you have lost the rest. Keep them: they are not shown again."),
      h("pre", { testid: "recovery-codes" }, codes.join("\n")),
      h("div", { class: "dialog-actions" }, h("button", { type: "button", class: "button primary", testid: "codes-kept", onclick: () => this._overview() }, "I have kept them"))));
  }
}
