/** A room's settings, for who may change them: name and topic, slow mode, who may do what, links, who is kept out. */

import { fullTime } from "../clock.js";
import { h } from "../dom.js";
import { confirmDialog } from "./confirm_dialog.js";
import { makeDialog, submitting } from "./dialog.js";
import { linkList } from "./invite_dialog.js";

const SLOW = { 0: "Off", 5: "5 seconds", 10: "10 seconds", 30: "30 seconds", 60: "1 minute", 300: "5 minutes", 3600: "1 hour" };
const PERMISSIONS = { post: "Write messages", react: "React", invite: "Invite people", pin: "Pin messages", mention_all: "Mention everybody" };

export class RoomSettings {
  constructor(chat, notices) {
    this._chat = chat;
    this._room = chat.room;
    this._notices = notices;
    this._error = h("p", { class: "form-error", role: "alert", testid: "settings-error" });
  }

  show() {
    const owner = this._chat.rooms.role(this._room) === "owner";
    this._dialog = makeDialog("settings", "Room settings", h("div", { class: "account" }, this._general(), this._error,
      owner && this._permissions(), linkList(this._chat, this._room), this._restrictions(), owner && this._closing()));
    this._dialog.showModal();
  }

  _does(name, more) {
    return this._chat.attempt(() => this._chat.command(name, { room: this._room.id, ...more }));
  }

  _general() {
    const { name, topic, slowSeconds } = this._room;
    const nameField = h("input", { id: "settings-name", testid: "settings-name", value: name, maxlength: "100", required: true });
    const topicField = h("input", { id: "settings-topic", testid: "settings-topic", value: topic, maxlength: "250", placeholder: "What is this room for?" });
    const choices = slowSeconds in SLOW ? SLOW : { ...SLOW, [slowSeconds]: `${slowSeconds} seconds` };
    const slow = h("select", { id: "settings-slow", testid: "settings-slow" }, Object.entries(choices).map(([seconds, text]) =>
      h("option", { value: seconds, selected: Number(seconds) === slowSeconds }, text)));
    const button = h("button", { class: "button primary", testid: "settings-save" }, "Save");
    const field = (label, input) => h("div", { class: "field" }, h("label", { for: input.id }, label), input);
    return h("form", { onsubmit: async (event) => {
      event.preventDefault();
      const changes = {
        ...(nameField.value.trim() !== name && { name: nameField.value.trim() }),
        ...(topicField.value.trim() !== topic && { topic: topicField.value.trim() }),
        ...(Number(slow.value) !== slowSeconds && { slow_seconds: Number(slow.value) }),
      };
      const saves = async () => Object.keys(changes).length && this._chat.command("room.update", { room: this._room.id, ...changes });
      if (await submitting(button, this._error, saves)) this._dialog.close();
    } }, field("Name", nameField), field("Topic", topicField), field("Slow mode: time between two messages of a member", slow),
    h("div", { class: "dialog-actions" }, button));
  }

  /** What everybody may: the owner's rule for `everyone`. Moderators have what is theirs by their role. */
  _permissions() {
    const choice = (name) => h("select", { id: `may-${name}`, testid: `may-${name}`, "aria-label": PERMISSIONS[name] },
      h("option", { value: "" }, "As rooms begin"), h("option", { value: "allow" }, "Everyone"), h("option", { value: "deny" }, "Moderators alone"));
    const fields = Object.keys(PERMISSIONS).map((name) => [name, choice(name)]);
    const button = h("button", { class: "button", testid: "permissions-save" }, "Set");
    const told = h("p", { class: "field-hint", role: "status" }, "Setting it replaces what was set for everyone before.");
    return h("section", {}, h("h3", {}, "Who may what"), h("form", { onsubmit: async (event) => {
      event.preventDefault();
      const named = (value) => fields.filter(([, field]) => field.value === value).map(([name]) => name);
      const [allow, deny] = [named("allow"), named("deny")];
      // What a role begins with is as near as its rule, so moderators keep what everyone is denied.
      const rule = { role: "everyone", ...(allow.length && { allow }), ...(deny.length && { deny }) };
      const set = () => this._chat.command("room.permissions", { room: this._room.id, rules: [rule, { role: "moderator", allow: deny }] });
      if (await submitting(button, this._error, set)) told.textContent = "It is set.";
    } }, h("ul", { class: "settings-list" }, fields.map(([name, field]) => h("li", {}, h("label", { class: "settings-name", for: field.id }, PERMISSIONS[name]), field))),
    told, h("div", { class: "dialog-actions" }, button)));
  }

  _restrictions() {
    const list = h("ul", { class: "settings-list", testid: "restriction-list" });
    const told = h("p", { class: "field-hint" });
    const load = () => this._chat.attempt(async () => {
      const { users } = await this._chat.command("restrictions", { room: this._room.id }, { id: false });
      const kept = users.filter(({ banned, muted }) => banned || muted);
      told.textContent = kept.length ? "" : "Nobody is banned or muted.";
      list.replaceChildren(...kept.map((user) => this._restricted(user, load)));
    });
    load();
    return h("section", {}, h("h3", {}, "Banned and muted"), told, list);
  }

  _restricted({ id, banned, banned_until: bannedUntil, muted_until: mutedUntil }, load) {
    const until = banned ? bannedUntil : mutedUntil;
    const lift = async () => {
      if (await this._does(banned ? "member.unban" : "member.unmute", { user: id })) load();
    };
    const name = this._chat.store.people.get(id) ?? id;
    return h("li", { testid: "restriction" }, h("span", { class: "settings-name" }, h("strong", {}, name),
      h("small", {}, `${banned ? "Banned" : "Muted"}${until ? ` until ${fullTime(until)}` : ""}`)),
    h("button", { type: "button", class: "button small", testid: "lift", onclick: lift }, "Lift"));
  }

  _closing() {
    const { archived } = this._room;
    const text = archived ? "Open the room again" : "Close the room";
    return h("section", {}, h("h3", {}, archived ? "This room is closed" : "Close this room"),
      h("p", { class: "field-hint" }, archived ? "It can be read, but takes no messages." : "A closed room can be read, but takes no more messages. You can open it again."),
      h("button", { type: "button", class: archived ? "button" : "button danger", testid: "toggle-archive", onclick: async () => {
        const sure = archived || (await confirmDialog({ id: "archive", title: `Close ${this._room.name}?`, text: "Nobody can write here any more.", confirm: "Close room", danger: true }));
        if (sure && (await this._does(archived ? "room.unarchive" : "room.archive", {}))) this._dialog.close();
      } }, text));
  }
}
