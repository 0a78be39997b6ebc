/** Messages out of their places, as search, pins and threads show them: who, where, when, what, and a way there. */

import { avatar } from "../avatar.js";
import { dayName, fullTime, timeOfDay } from "../clock.js";
import { h } from "../dom.js";
import { plainText } from "../formatting.js";

const SHOWN = 400;

/** A row that opens a message's place. `go` is called when it is chosen; `more` are further nodes. */
export function foundRow(chat, event, { go, testid, inRoom = true, more = null }) {
  const { actor, at, room, data, erased } = event;
  const known = chat.store.rooms.get(room);
  const body = erased ? "A deleted message" : data.body || (data.attachments?.length ? data.attachments.map(({ name }) => name).join(", ") : "A forwarded message");
  return h("li", {}, h("button", { type: "button", class: "found", testid, onclick: go },
    avatar(actor, "small"),
    h("span", { class: "found-text" },
      h("span", { class: "found-head" }, h("strong", {}, actor.name ?? "Someone"), inRoom && h("span", {}, `in ${known ? chat.store.titleOf(known) : "another room"}`),
        h("time", { datetime: at, title: fullTime(at) }, `${dayName(at)}, ${timeOfDay(at)}`)),
      h("span", { class: "found-body", dir: "auto" }, plainText(body.slice(0, SHOWN))), more)));
}
