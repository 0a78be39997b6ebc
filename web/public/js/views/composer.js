/**
 * Where messages are written, in a room or in a thread: new ones, answers and edits. Enter sends, Shift+Enter starts a new
 * line; each place keeps its own draft.
 */

import { fullTime } from "../clock.js";
import { h, icon, iconButton } from "../dom.js";
import { plainText } from "../formatting.js";
import { mentionsIn } from "../mentions.js";
import { slashName, slashOptions } from "../slash.js";
import { typingLine } from "../typing.js";
import { ComposerFiles } from "./composer_files.js";
import { pickEmoji } from "./emoji_picker.js";
import { ScheduleDialog } from "./schedule_dialog.js";
import { Suggestions } from "./suggestions.js";

/** The server's limit on a message body, in bytes of UTF-8. */
export const MAX_BYTES = 64 * 1024;
const WARN_BYTES = 48 * 1024;
const TALLEST_PX = 220;

export class Composer {
  /** `sent` is called after a message was put on its way; `name` begins the names of this composer's parts. */
  constructor(chat, sent, notices, name = "composer") {
    this._chat = chat;
    this._sent = sent;
    this._notices = notices;
    this._name = name;
    this._place = null;
    this._about = null;
    this._build();
    chat.addEventListener("draft", () => this._takeDraft());
  }

  /** Shows the composer of the open room, or of a thread of it. */
  render(thread = null) {
    const { room } = this._chat;
    const place = `${room.id} ${thread ?? ""}`;
    if (place !== this._place) this._change(place, room.id, thread);
    const muted = room.muted && (!room.muted.until || Date.parse(room.muted.until) > Date.now());
    this._form.hidden = room.archived || Boolean(muted);
    this._closed.hidden = !this._form.hidden;
    this._closedText.textContent = room.archived ? "This room is closed. It can be read, but takes no more messages."
      : room.muted?.until ? `You are muted until ${fullTime(room.muted.until)}.` : "You are muted here. You can read, but not write.";
    this._typing.textContent = typingLine(this._chat.whoTypes(thread));
    const label = thread ? "Answer in the thread" : `Message ${this._chat.store.titleOf(room)}`;
    this._input.placeholder = label;
    this._input.setAttribute("aria-label", label);
    this._slow();
  }

  /** Begins an answer to a message. */
  answer(row) {
    this._begin({ kind: "answer", row, text: `Answering ${row.mine ? "yourself" : row.actor.name}` });
  }

  /** Begins to change an own message; what was being written comes back afterwards. */
  edit(row) {
    this._begin({ kind: "edit", row, text: "Editing your message", before: this._input.value });
    this._input.value = row.body;
    this._edited();
  }

  focus() {
    this._input.focus({ preventScroll: true });
  }

  _build() {
    const id = this._name;
    this._input = h("textarea", { id, testid: id, rows: "1", enterkeyhint: "send", autocomplete: "off", "aria-describedby": `${id}-hint`,
      oninput: () => this._typed(), onkeydown: (event) => this._key(event), onpaste: (event) => this._files.pasted(event) });
    this._send = h("button", { id: id === "composer" ? "send" : `${id}-send`, testid: id === "composer" ? "send" : `${id}-send`, class: "send", "aria-label": "Send", title: "Send", disabled: true }, icon("send"));
    this._hint = h("p", { id: `${id}-hint`, testid: `${id}-hint`, class: "composer-hint" });
    this._files = new ComposerFiles(this._chat.api, id, this._notices, () => this._edited());
    const smile = iconButton("smile", "Insert an emoji", { testid: `${id}-emoji`, onclick: () => pickEmoji(smile, (emoji) => this._insert(emoji)) });
    this._later = iconButton("clock", "Send later", { testid: `${id}-later`, onclick: () => this._schedule() });
    this._aboutText = h("span", {});
    this._aboutBar = h("div", { class: "composer-about", testid: `${id}-about`, hidden: true }, this._aboutText,
      iconButton("close", "Cancel", { testid: `${id}-cancel`, onclick: () => this._end() }));
    this._suggestions = new Suggestions(this._chat, this._input);
    this._form = h("form", { class: "composer-form", onsubmit: (event) => {
      event.preventDefault();
      this._submit();
    } }, this._suggestions.element, h("div", { class: "composer-frame" }, this._aboutBar, this._files.tray,
      h("div", { class: "composer-box" }, this._files.button, this._files.input, this._input, smile, this._later, this._send)), this._hint);
    this._closedText = h("span");
    this._closed = h("p", { class: "composer-closed", testid: `${id}-closed`, hidden: true }, icon("lock"), this._closedText);
    this._typing = h("p", { class: "typing", testid: id === "composer" ? "typing" : `${id}-typing`, "aria-live": "polite" });
    this.element = h("div", { class: "composer" }, this._typing, this._form, this._closed);
    this._edited();
  }

  /** Takes files that were dropped on the room. */
  take(files) {
    if (!this._form.hidden) this._files.add(files);
  }

  _change(place, roomId, thread) {
    if (this._place) this._end();
    this._files.drop();
    Object.assign(this, { _place: place, _roomId: roomId, _thread: thread });
    this._input.value = this._chat.drafts.text(roomId, thread);
    this._edited();
    // On a touch screen focus would raise the keyboard over the messages just opened.
    if (matchMedia("(hover: hover)").matches && !document.querySelector("dialog[open]")) this.focus();
  }

  /** A draft from another device, unless something is being written here. */
  _takeDraft() {
    if (!this._place || this._about || document.activeElement === this._input) return;
    this._input.value = this._chat.drafts.text(this._roomId, this._thread);
    this._edited();
  }

  _begin(about) {
    if (this._about) this._end();
    this._about = about;
    this._aboutText.replaceChildren(h("strong", {}, about.text), about.kind === "answer" ? ` ${plainText(about.row.body.slice(0, 120))}` : "");
    this._aboutBar.hidden = false;
    this._edited();
    this.focus();
  }

  _end() {
    const about = this._about;
    this._about = null;
    this._aboutBar.hidden = true;
    if (about?.kind === "edit") this._input.value = about.before;
    this._edited();
  }

  _key(event) {
    if (this._suggestions.key(event)) return;
    if (event.key === "Escape" && this._about) {
      event.stopPropagation();
      this._end();
    } else if (event.key === "ArrowUp" && this._input.value === "" && !this._about) {
      this._editLast(event);
    }
    // While an input method composes, Enter picks a candidate.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this._submit();
  }

  /** The own message that was sent last is changed with the arrow up. */
  _editLast(event) {
    const own = this._chat.room.events.findLast(({ type, actor, erased, data }) =>
      type === "message.sent" && !erased && actor.id === this._chat.me.id && (data.thread ?? null) === this._thread);
    if (!own) return;
    event.preventDefault();
    this.edit({ sequence: own.sequence, body: own.data.body, version: own.data.version ?? 1, mine: true, actor: own.actor });
  }

  _typed() {
    this._edited();
    this._suggestions.update();
    if (this._about?.kind === "edit") return;
    this._chat.drafts.put(this._roomId, this._thread, this._input.value);
    if (this._input.value.trim() !== "") this._chat.typing(this._thread);
  }

  _insert(text) {
    this._input.setRangeText(text, this._input.selectionStart, this._input.selectionEnd, "end");
    this._typed();
    this.focus();
  }

  _edited() {
    const bytes = byteLength(this._input.value);
    const tooLong = bytes > MAX_BYTES;
    const empty = this._input.value.trim() === "" && this._files.uploads.length === 0;
    this._send.disabled = tooLong || this._files.waiting || empty || this._waitMs() > 0;
    this._hint.classList.toggle("bad", tooLong);
    this._form.classList.toggle("too-long", tooLong);
    this._hint.textContent = tooLong
      ? `Too long by ${kib(bytes - MAX_BYTES)} KiB. A message holds ${kib(MAX_BYTES)} KiB.`
      : bytes > WARN_BYTES ? `${kib(bytes)} of ${kib(MAX_BYTES)} KiB` : this._hintText();
    this._input.style.height = "auto";
    this._input.style.height = `${Math.min(this._input.scrollHeight, TALLEST_PX)}px`;
  }

  _hintText() {
    const wait = Math.ceil(this._waitMs() / 1000);
    if (wait > 0) return `Slow mode: you can write again in ${wait} s`;
    return this._about?.kind === "edit" ? "Enter to save, Escape to cancel" : "Enter to send, Shift + Enter for a new line";
  }

  _waitMs() {
    const { room } = this._chat;
    if (!room || this._about?.kind === "edit") return 0;
    return Math.max(0, this._chat.rooms.mayWriteAt(room) - Date.now());
  }

  /** Counts down in slow mode. */
  _slow() {
    if (this._waitMs() > 0 && !this._counting) {
      this._counting = setInterval(() => {
        this._edited();
        if (this._waitMs() > 0) return;
        clearInterval(this._counting);
        this._counting = 0;
      }, 500);
      this._edited();
    }
  }

  async _submit() {
    if (this._send.disabled) return;
    const text = this._input.value.trim();
    const about = this._about;
    if (about?.kind === "edit") return this._save(about.row, text);
    if (slashName(text) && this._files.uploads.length === 0 && !about && (await this._invoke(text))) return;
    this._chat.send(text, this._fields(text), this._shown());
    this._emptied();
  }

  /** What `message.send` takes besides the text. */
  _fields(text) {
    const { room, me } = this._chat;
    const members = [...(room.members?.values() ?? [])];
    return {
      ...mentionsIn(text, members, { me: me.id, everybody: this._chat.rooms.moderates(room) }),
      ...(this._thread && { thread: this._thread }),
      ...(this._about?.kind === "answer" && { reply_to: this._about.row.sequence }),
      ...(this._files.uploads.length && { attachments: this._files.uploads.map(({ id }) => id) }),
    };
  }

  _shown() {
    const answered = this._about?.kind === "answer" && this._about.row;
    return answered ? { replyTo: answered.sequence, quote: { sequence: answered.sequence, actor: answered.actor, body: answered.body } } : {};
  }

  _emptied() {
    this._about = null;
    this._aboutBar.hidden = true;
    this._input.value = "";
    this._files.taken();
    this._chat.drafts.put(this._roomId, this._thread, "");
    this._suggestions.hide();
    this._edited();
    this._input.focus();
    this._sent();
  }

  async _save(row, body) {
    this._send.disabled = true;
    const room = this._roomId;
    try {
      if (body !== row.body) await this._chat.command("message.edit", { room, message: row.sequence, body, version: row.version });
      this._end();
    } catch (error) {
      const newer = error.code === "conflict";
      if (newer && error.data?.version) row.version = error.data.version;
      this._notices.show(newer ? "It was changed elsewhere meanwhile. Save again to replace that." : error.message, { bad: true });
      this._edited();
    }
  }

  /** Asks a bot. Returns whether the text was for one; what no bot offers is an ordinary message. */
  async _invoke(text) {
    const name = slashName(text);
    const { room } = this._chat;
    try {
      const { commands } = await this._chat.command("commands", { room: room.id, prefix: name, limit: 20 }, { id: false });
      const found = commands.find((command) => command.name === name);
      if (!found) return false;
      const people = [...(room.members?.values() ?? [])];
      const options = slashOptions(text, found, (person) => people.find((one) => one.name.toLowerCase() === person.toLowerCase())?.id);
      await this._chat.command("command.invoke", { room: room.id, name, options, bot: found.bot.id });
      this._emptied();
    } catch (error) {
      this._notices.show(error.message, { bad: true });
    }
    return true;
  }

  _schedule() {
    const text = this._input.value.trim();
    const message = { room: this._roomId, body: text, ...this._fields(text) };
    new ScheduleDialog(this._chat, text ? message : null, this._notices, () => this._emptied()).show();
  }
}

function byteLength(text) {
  // Short of this, even four bytes a unit stay below the first warning.
  return text.length * 4 < WARN_BYTES ? text.length : new TextEncoder().encode(text).length;
}

function kib(bytes) {
  return (Math.ceil((bytes / 1024) * 10) / 10).toLocaleString();
}
