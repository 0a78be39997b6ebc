/** Where a user is signed in, and a way out of each place. */

import { dayName, fullTime, timeOfDay } from "../clock.js";
import { h } from "../dom.js";

const METHODS = { password: "password", passkey: "passkey", oidc: "identity provider" };

/** The section of the account dialog. Raises `RequestError`. */
export async function sessionsSection(account, errorLine) {
  const list = h("ul", { testid: "session-list" });
  const others = h("button", { type: "button", class: "button", testid: "end-others" }, "Sign out everywhere else");
  const load = async () => {
    const sessions = await account.sessions();
    list.replaceChildren(...sessions.map((session) => row(session, (button) => does(button, () => account.endSession(session.id)))));
    others.hidden = sessions.length < 2;
  };
  const does = async (button, work) => {
    button.disabled = true;
    errorLine.textContent = "";
    try {
      await work();
      await load();
    } catch (error) {
      errorLine.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  };
  others.addEventListener("click", () => does(others, () => account.endOtherSessions()));
  await load();
  return h("section", {}, h("h3", {}, "Where you are signed in"), list, others);
}

function row({ device, address, method, created_at: began, last_used_at: used, current }, end) {
  const how = method.split("+").map((part) => METHODS[part] ?? part.replace("_", " ")).join(" and ");
  const button = h("button", { type: "button", class: "button small", testid: "end-session", onclick: () => end(button) }, "Sign out");
  return h("li", { testid: "session", "data-current": String(current) },
    h("span", { class: "settings-name" }, h("strong", {}, device || "Unknown device", current && h("span", { class: "tag" }, "this one")),
      h("small", { title: `Signed in ${fullTime(began)}, by ${how}` }, `${address || "unknown place"} · last used ${dayName(used)}, ${timeOfDay(used)}`)),
    !current && button);
}
