/** What can be done with a person: write to them, and for who may, everything that moderators do. */

import { showMenu } from "./popup.js";
import { confirmDialog } from "./confirm_dialog.js";

const HOUR = 3_600;

/** Shows the menu of a user `{id, name}` as a member of the open room. */
export function showPersonMenu(anchor, chat, { id, name }, notices) {
  const { room } = chat;
  if (!id || !room) return;
  const member = room.members?.get(id);
  const mine = id === chat.me.id;
  const owner = chat.rooms.role(room) === "owner";
  const theirs = member?.role ?? "member";
  // Nobody moderates the owner, and who moderates is moderated by the owner alone.
  const may = !mine && chat.rooms.moderates(room) && theirs !== "owner" && (owner || theirs === "member");
  const joined = member?.state === "joined";
  const does = async (command, more, told) => {
    const done = await chat.attempt(() => chat.command(command, { room: room.id, user: id, ...more }));
    if (done && told) notices.show(told);
  };
  const sure = async (command, title, text, confirm, more = {}) => {
    if (await confirmDialog({ id: "moderate", title, text, confirm, danger: true })) does(command, more);
  };
  const block = async (command, told) => {
    if (await chat.attempt(() => chat.command(command, { user: id }, { id: false }))) notices.show(told);
  };
  const role = (text, to, glyph, testid) => ({ icon: glyph, text, testid, run: () => does("member.role", { role: to }) });
  showMenu(anchor, [
    { icon: "chat", text: mine ? "Notes to yourself" : "Send a message", testid: "person-message", run: () => chat.attempt(() => chat.rooms.direct(mine ? [] : [{ id, name }])) },
    null,
    owner && !mine && joined && theirs === "member" && role("Make moderator", "moderator", "shield", "person-promote"),
    owner && !mine && theirs === "moderator" && role("Make member", "member", "users", "person-demote"),
    owner && !mine && joined && { icon: "crown", text: "Make owner", testid: "person-transfer",
      run: () => sure("room.transfer", `Make ${name} the owner?`, "You will be a member then, and only they can give the room back.", "Make owner") },
    null,
    may && { icon: "mute", text: "Mute for an hour", testid: "person-mute", run: () => does("member.mute", { seconds: HOUR }, `${name} is muted for an hour.`) },
    may && { icon: "mute", text: "Mute for a day", run: () => does("member.mute", { seconds: 24 * HOUR }, `${name} is muted for a day.`) },
    may && { icon: "check", text: "Let them write again", testid: "person-unmute", run: () => does("member.unmute", {}, `${name} may write.`) },
    may && joined && { icon: "leave", text: "Remove from the room", danger: true, testid: "person-remove",
      run: () => sure("member.remove", `Remove ${name}?`, "They may come back as others may.", "Remove") },
    may && { icon: "ban", text: "Ban from the room", danger: true, testid: "person-ban",
      run: () => sure("member.ban", `Ban ${name}?`, "They are kept out until somebody lifts the ban, in the room's settings.", "Ban") },
    null,
    !mine && { icon: "block", text: "Block", testid: "person-block", run: () => block("user.block", `${name} can send you no more direct messages.`) },
    !mine && { icon: "check", text: "Unblock", testid: "person-unblock", run: () => block("user.unblock", `${name} is not blocked.`) },
  ].filter((item) => item !== false), { label: name, testid: "person-menu" });
}
