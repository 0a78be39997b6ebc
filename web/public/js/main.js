/** Entry: shows the sign-in card or the chat, and changes between them as the session begins and ends. */

import { Account } from "./account.js";
import { request } from "./api.js";
import { Chat } from "./chat.js";
import { takeAnswer } from "./login_elsewhere.js";
import { takeMailed } from "./mailed_link.js";
import { Session } from "./session.js";
import { Shell } from "./views/shell.js";
import { SignIn } from "./views/sign_in.js";

const root = document.getElementById("root");
const session = new Session();
let chat = null;
let shell = null;
let toVerify = null;
let toJoin = null;

function showSignIn(reason = null, resetToken = null) {
  document.title = "Parley";
  const view = new SignIn(session, showChat, reason, resetToken);
  root.replaceChildren(view.element);
  view.focus();
}

function showChat() {
  chat = new Chat(session);
  shell = new Shell(chat, new Account(session), () => session.end());
  chat.addEventListener("stopped", ({ detail }) => stopped(detail));
  root.replaceChildren(shell.element);
  const started = chat.start();
  if (toVerify) verifyAddress();
  if (toJoin) started.then(joinByLink);
}

/** Whoever came by a link into a room joins it, once they are signed in. */
async function joinByLink() {
  const code = toJoin;
  toJoin = null;
  if (code) await chat?.attempt(() => chat.rooms.joinByLink(code));
}

/** Whoever came by the link of a mail has confirmed their address, once they are signed in as who had it sent. */
async function verifyAddress() {
  const token = toVerify;
  toVerify = null;
  try {
    const { email } = await request("POST", "/auth/me/email/confirm", { body: { token }, token: await session.token() });
    shell?.notices.show(`${email} is confirmed.`);
  } catch (error) {
    shell?.notices.show(error.message, { bad: true });
  }
}

/** A kick leaves the page as it is, with a way back; anything else that is final ends the session. */
function stopped({ code, message, kicked }) {
  if (kicked && code !== "banned" && code !== "revoked_token") shell.showKicked(message);
  else session.end({ code, message: message || "You were signed out by the server." });
}

session.addEventListener("ended", ({ detail }) => {
  chat?.stop();
  shell?.close();
  chat = shell = null;
  showSignIn(detail);
});

/** A link into a room may also be followed while the page is open. */
addEventListener("hashchange", () => {
  const link = takeMailed();
  if (link?.purpose !== "invite") return;
  toJoin = link.token;
  if (chat) joinByLink();
});

/** With what a login elsewhere ended with, or as on any visit. */
async function enter(answer, mailed) {
  if (mailed?.purpose === "reset") return showSignIn(null, mailed.token);
  if (mailed?.purpose === "invite") {
    toJoin = mailed.token;
    if (!session.user && !answer) return showSignIn({ message: "Sign in or make an account to join the room." });
  }
  if (mailed?.purpose === "verify") {
    toVerify = mailed.token;
    if (!session.user) return showSignIn({ message: "Sign in to confirm your e-mail address." });
  }
  if (session.user) return showChat();
  if (!answer?.code) return showSignIn(answer);
  try {
    await session.exchange(answer.code);
  } catch (error) {
    return showSignIn({ message: error.message });
  }
  showChat();
}

enter(takeAnswer(), takeMailed());
