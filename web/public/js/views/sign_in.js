/** The first thing a newcomer sees: one card to sign in or sign up with. */

import { request } from "../api.js";
import { h, icon, logo } from "../dom.js";
import { startOf, waysToSignIn } from "../login_elsewhere.js";
import { passkeysWork, usePasskey } from "../passkeys.js";
import { factorStep, forgottenStep, passwordStep, resetStep } from "./sign_in_steps.js";

const USERNAME = /^[A-Za-z0-9_.-]{3,32}$/u;
const SHORTEST_PASSWORD = 8;
const WORDS = {
  login: {
    title: "Welcome back",
    lead: "Sign in to pick up where you left off.",
    action: "Sign in",
    busy: "Signing in…",
    question: "New here?",
    other: "Create an account",
    autocomplete: "current-password",
    usernameHint: "",
    passwordHint: "",
  },
  register: {
    title: "Create your account",
    lead: "A username and a password are all it takes.",
    action: "Sign up",
    busy: "Signing up…",
    question: "Have an account?",
    other: "Sign in",
    autocomplete: "new-password",
    usernameHint: "3 to 32 letters, digits, dots, dashes or underscores.",
    passwordHint: "At least 8 characters.",
  },
};

export class SignIn {
  /**
   * `done` is called once signed in; `reason` {message} says why the last session ended; `resetToken` is that of a mailed
   * link.
   */
  constructor(session, done, reason, resetToken = null) {
    this._session = session;
    this._done = done;
    this._mode = session.returning ? "login" : "register";
    this._build(reason);
    this._render();
    this._offer();
    if (resetToken) this._reset(resetToken);
  }

  focus() {
    if (this._step) this._step.focus();
    else this._username.focus();
  }

  _build(reason) {
    this._title = h("h1", { id: "sign-in-title" });
    this._lead = h("p", { class: "lead" });
    this._username = h("input", {
      id: "username", testid: "username", name: "username", maxlength: "64", autocomplete: "username",
      autocapitalize: "none", spellcheck: "false", "aria-describedby": "username-hint",
    });
    this._password = h("input", { id: "password", testid: "password", name: "password", type: "password", maxlength: "256",
      "aria-describedby": "password-hint" });
    this._usernameHint = h("p", { id: "username-hint", class: "field-hint" });
    this._passwordHint = h("p", { id: "password-hint", class: "field-hint" });
    this._reveal = h("button", { type: "button", class: "reveal", testid: "reveal-password", "aria-pressed": "false",
      onclick: () => this._toggleReveal() }, "Show");
    this._error = h("p", { id: "sign-in-error", testid: "sign-in-error", class: "form-error", role: "alert" });
    this._submit = h("button", { id: "sign-in-submit", testid: "sign-in-submit", class: "button primary wide" });
    this._question = h("span");
    this._switch = h("button", { type: "button", id: "sign-in-switch", testid: "sign-in-switch", class: "link",
      onclick: () => this._change() });
    this._form = h("form", { class: "sign-in-form", testid: "sign-in-form", novalidate: true, onsubmit: (event) => this._send(event) },
      h("div", { class: "field" }, h("label", { for: "username" }, "Username"), this._username, this._usernameHint),
      h("div", { class: "field" }, h("label", { for: "password" }, "Password"),
        h("div", { class: "password" }, this._password, this._reveal), this._passwordHint),
      this._error, this._submit);
    this._elsewhere = h("div", { class: "elsewhere", testid: "sign-in-elsewhere", hidden: true });
    this._forgot = h("p", { class: "switch", hidden: true }, h("button", { type: "button", class: "link", testid: "forgot-password",
      onclick: () => this._show(forgottenStep({ back: () => this._back(), next: (token) => this._reset(token) })) }, "Forgot your password?"));
    this._noticeText = h("span", {}, reason?.message ?? "");
    this._notice = h("p", { class: "callout", testid: "session-notice", role: "status", hidden: !reason?.message }, icon("alert"), this._noticeText);
    this._place = h("div");
    const card = h("section", { class: "sign-in-card", "aria-labelledby": "sign-in-title" },
      h("div", { class: "brand-line" }, logo(), h("span", {}, "Parley")), this._place);
    this._first = h("div", {}, this._title, this._lead, this._notice, this._form, this._elsewhere,
      h("p", { class: "switch" }, this._question, " ", this._switch), this._forgot);
    this._place.replaceChildren(this._first);
    this.element = h("main", { class: "sign-in", testid: "sign-in" }, showcase(), h("div", { class: "sign-in-side" }, card));
  }

  _render() {
    const words = WORDS[this._mode];
    this._title.textContent = words.title;
    this._lead.textContent = words.lead;
    this._submit.textContent = words.action;
    this._question.textContent = words.question;
    this._switch.textContent = words.other;
    this._usernameHint.textContent = words.usernameHint;
    this._passwordHint.textContent = words.passwordHint;
    this._password.setAttribute("autocomplete", words.autocomplete);
    this._forgot.hidden = this._mode !== "login" || !this._ways?.password_reset;
  }

  /** Shows a further step instead of the form. */
  _show(step) {
    this._step = step;
    this._place.replaceChildren(step.element);
    step.focus();
  }

  _reset(token) {
    this._show(resetStep({ token, back: (told) => this._back(told) }));
  }

  _back(told = "") {
    this._step = null;
    this._password.value = "";
    if (told) {
      this._mode = "login";
      this._noticeText.textContent = told;
      this._notice.hidden = false;
    }
    this._render();
    this._place.replaceChildren(this._first);
    this.focus();
  }

  /** Where else one may sign in, as soon as the server has said so. */
  async _offer() {
    this._ways = await waysToSignIn();
    const found = this._ways.providers.map((provider) =>
      h("a", { class: "button wide", testid: `provider-${provider.name}`, href: startOf(provider) }, provider.label));
    if (passkeysWork(this._ways.passkeys_for)) {
      found.push(h("button", { type: "button", class: "button wide", testid: "sign-in-passkey", onclick: () => this._usePasskey() }, "A passkey"));
    }
    this._elsewhere.hidden = found.length === 0;
    this._elsewhere.replaceChildren(h("p", { class: "elsewhere-or" }, "or continue with"), ...found);
    this._render();
  }

  async _usePasskey() {
    this._error.textContent = "";
    try {
      const { public_key: options } = await request("POST", "/auth/passkeys/login-options");
      await this._enter("/auth/passkeys/login", { passkey: await usePasskey(options) });
    } catch (error) {
      this._error.textContent = error.message;
    }
  }

  /** Goes on with a login, which may ask for a further step. Raises what else is wrong. */
  async _enter(path, body, username) {
    try {
      await this._session.enter(path, body, username);
    } catch (error) {
      if (!this._demanded(error, username)) throw error;
      return;
    }
    this._done();
  }

  /** Shows the step that a refusal asks for, if it asks for one. */
  _demanded(error, username) {
    const steps = { second_factor_required: factorStep, password_change_required: passwordStep };
    const next = Object.hasOwn(steps, error.code ?? "") && steps[error.code];
    if (!next) return false;
    this._show(next({ data: error.data, domain: this._ways?.passkeys_for, back: () => this._back(),
      enter: (path, body) => this._enter(path, body, username) }));
    return true;
  }

  _change() {
    this._mode = this._mode === "login" ? "register" : "login";
    this._error.textContent = "";
    this._render();
    (this._username.value ? this._password : this._username).focus();
  }

  _toggleReveal() {
    const shown = this._password.type === "text";
    this._password.type = shown ? "password" : "text";
    this._reveal.textContent = shown ? "Show" : "Hide";
    this._reveal.setAttribute("aria-pressed", String(!shown));
  }

  /** What the server would say too, but in words for people and at the field concerned. */
  _complaint(username, password) {
    if (!username) return { field: this._username, text: "Please enter a username." };
    if (!password) return { field: this._password, text: "Please enter a password." };
    if (this._mode === "login") return null;
    if (!USERNAME.test(username)) {
      return { field: this._username, text: "A username has 3 to 32 letters, digits, dots, dashes or underscores." };
    }
    if (password.length < SHORTEST_PASSWORD) return { field: this._password, text: "A password has at least 8 characters." };
    return null;
  }

  async _send(event) {
    event.preventDefault();
    const words = WORDS[this._mode];
    const username = this._username.value.trim();
    const complaint = this._complaint(username, this._password.value);
    this._error.textContent = complaint?.text ?? "";
    if (complaint) return complaint.field.focus();
    this._submit.disabled = true;
    this._submit.textContent = words.busy;
    try {
      await this._session.begin(this._mode, username, this._password.value);
      this._done();
    } catch (error) {
      if (this._demanded(error, username)) return;
      this._error.textContent = error.message;
      this._password.select();
      this._password.focus();
    } finally {
      this._submit.disabled = false;
      this._submit.textContent = words.action;
    }
  }
}

/** The decorated half: what the product is about, shown rather than told. */
function showcase() {
  const said = (side, colour, initials, text, extra = "") =>
    h("div", { class: `said ${side} ${extra}` },
      side === "theirs" && h("span", { class: `avatar avatar-${colour}` }, initials), h("span", { class: "said-text" }, text));
  return h("div", { class: "showcase", "aria-hidden": "true" },
    h("div", { class: "showcase-brand" }, logo(), h("span", {}, "Parley")),
    h("div", { class: "showcase-talk" },
      said("theirs", 2, "MO", "The train went into a tunnel. What did I miss?"),
      said("mine", 0, "", "Nothing. It is all here, in order."),
      said("theirs", 7, "IR", "And on our own server."),
      h("div", { class: "said theirs typing" }, h("span", { class: "avatar avatar-4" }, "JU"),
        h("span", { class: "said-text" }, h("i"), h("i"), h("i")))),
    h("ul", { class: "showcase-points" },
      h("li", {}, icon("check"), "Every message kept, in one order for everyone"),
      h("li", {}, icon("clock"), "Picks up where you were when the line drops"),
      h("li", {}, icon("server"), "Runs on your server, under your rules")));
}
