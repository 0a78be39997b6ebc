/** What the sign-in card shows instead of its first form: a second factor, another password, a forgotten one. */

import { request } from "../api.js";
import { h } from "../dom.js";
import { passkeysWork, usePasskey } from "../passkeys.js";
import { submitting } from "./dialog.js";

/** A field with its label. */
export function field(id, label, properties = {}, hint = "") {
  const input = h("input", { id, testid: id, name: id, ...properties });
  return { input, element: h("div", { class: "field" }, h("label", { for: id }, label), input, hint && h("p", { class: "field-hint" }, hint)) };
}

/** A step: a title, fields, one button, and what else may be done. `submit` raises an error to have it shown. */
function step({ title, lead, fields = [], action, submit, more = [] }) {
  const error = h("p", { testid: "step-error", class: "form-error", role: "alert" });
  const button = action && h("button", { testid: "step-submit", class: "button primary wide" }, action);
  const form = h("form", { class: "sign-in-form", novalidate: true, onsubmit: async (event) => {
    event.preventDefault();
    const done = button && (await submitting(button, error, submit));
    if (button && !done) fields[0]?.input.select();
  } }, ...fields.map((each) => each.element), error, button);
  const element = h("div", {}, h("h1", { id: "sign-in-title" }, title), h("p", { class: "lead" }, lead), form, ...more);
  return { element, error, focus: () => (fields[0]?.input ?? element.querySelector("button"))?.focus() };
}

const link = (testid, text, onclick) => h("p", { class: "switch" }, h("button", { type: "button", class: "link", testid, onclick }, text));

/** After a password that was right: a code, a passkey or a recovery code. `data` is what the server asks for. */
export function factorStep({ data, enter, back, domain }) {
  const send = (shown) => enter("/auth/login/factor", { ticket: data.ticket, ...shown });
  const withApp = data.methods.includes("totp");
  const code = field("code", "Code", { inputmode: "numeric", autocomplete: "one-time-code", maxlength: "6" });
  const recovery = field("recovery-code", "Recovery code", { autocomplete: "off", spellcheck: "false", maxlength: "64" });
  const passkey = data.passkey && passkeysWork(domain) && h("button", { type: "button", class: "button wide", testid: "factor-passkey",
    onclick: async () => submitting(passkey, current.error, async () => send({ passkey: await usePasskey(data.passkey) })) }, "Use a passkey");
  const ways = (other) => [passkey, link("step-other", other.text, () => other.show()), link("step-back", "Back", back)].filter(Boolean);
  const place = h("div");
  let current = null;
  const show = (made) => {
    current = made;
    place.replaceChildren(made.element);
    made.focus();
  };
  const byRecovery = () => show(step({
    title: "Recovery code", lead: "Each of your recovery codes works once.", fields: [recovery], action: "Sign in",
    submit: () => send({ recovery_code: recovery.input.value }), more: ways({ text: "Use something else", show: byFactor }),
  }));
  const byFactor = () => show(step({
    title: "One step more",
    lead: withApp ? "Enter the code that your authenticator app shows." : "Your account asks for a passkey as well.",
    fields: withApp ? [code] : [],
    action: withApp ? "Sign in" : null,
    submit: () => send({ code: code.input.value.replaceAll(/\s/gu, "") }),
    more: ways({ text: "Use a recovery code", show: byRecovery }),
  }));
  byFactor();
  return { element: place, focus: () => current.focus() };
}

const newPassword = () => field("new-password", "New password", { type: "password", maxlength: "256", autocomplete: "new-password" }, "At least 8 characters.");

/** Where an administrator wants another password. */
export function passwordStep({ data, enter, back }) {
  const password = newPassword();
  return step({
    title: "Choose a new password", lead: "Your password has to be changed before you go on.", fields: [password], action: "Save and sign in",
    submit: () => enter("/auth/login/password", { ticket: data.ticket, new_password: password.input.value }),
    more: [link("step-back", "Back", back)],
  });
}

/** For who has forgotten their password. `next` is called with the code of a mail that has one in place of a link. */
export function forgottenStep({ back, next }) {
  const identifier = field("identifier", "Username or e-mail address", { autocomplete: "username", maxlength: "254", autocapitalize: "none" });
  const made = step({
    title: "Forgot your password?", lead: "We send a link to the e-mail address of your account.", fields: [identifier], action: "Send me a link",
    submit: async () => {
      await request("POST", "/auth/password-reset", { body: { identifier: identifier.input.value.trim() } });
      const code = field("mailed-code", "Code of the mail", { autocomplete: "one-time-code", spellcheck: "false", maxlength: "64" });
      const sent = step({
        title: "Look into your mail", lead: "If there is such an account and it has an e-mail address, a mail is on its way.",
        fields: [code], action: "Continue", submit: () => next(code.input.value.trim()), more: [link("step-back", "Back", back)],
      });
      made.element.replaceChildren(sent.element);
      sent.focus();
    },
    more: [link("step-back", "Back", back)],
  });
  return made;
}

/** For who has come by the link of such a mail. */
export function resetStep({ token, back }) {
  const password = newPassword();
  return step({
    title: "Choose a new password", lead: "You will be signed out everywhere.", fields: [password], action: "Save",
    submit: async () => {
      await request("POST", "/auth/password-reset/confirm", { body: { token, new_password: password.input.value } });
      back("Your password was changed. Please sign in.");
    },
    more: [link("step-back", "Back", () => back())],
  });
}
