/** Entry: shows the sign-in card or the chat, and changes between them as the session begins and ends. */

import { Chat } from "./chat.js";
import { takeAnswer } from "./login_elsewhere.js";
import { Session } from "./session.js";
import { Shell } from "./views/shell.js";
import { SignIn } from "./views/sign_in.js";

const root = document.getElementById("root");
const session = new Session();
let chat = null;
let shell = null;

function showSignIn(reason = null) {
  document.title = "Parley";
  const view = new SignIn(session, showChat, reason);
  root.replaceChildren(view.element);
  view.focus();
}

function showChat() {
  chat = new Chat(session);
  shell = new Shell(chat, () => session.end());
  chat.addEventListener("stopped", ({ detail }) => stopped(detail));
  root.replaceChildren(shell.element);
  chat.start();
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

/** With what a login elsewhere ended with, or as on any visit. */
async function enter(answer) {
  if (session.user) return showChat();
  if (!answer?.code) return showSignIn(answer);
  try {
    await session.exchange(answer.code);
  } catch (error) {
    return showSignIn({ message: error.message });
  }
  showChat();
}

enter(takeAnswer());
