/** What can be done with a message, offered by the controls at its row. */

import { h } from "../dom.js";
import { confirmDialog } from "./confirm_dialog.js";
import { makeDialog } from "./dialog.js";
import { pickEmoji } from "./emoji_picker.js";
import { showPersonMenu } from "./person_menu.js";
import { showMenu } from "./popup.js";
import { ReportDialog } from "./report_dialog.js";

export class MessageActions {
  /** `composer` writes answers and edits of these messages; `page` has `jump(sequence, room)`, `openThread(root)` and `notices`. */
  constructor(chat, composer, page, { threads = true } = {}) {
    this._chat = chat;
    this._composer = composer;
    this._page = page;
    this.threads = threads;
    this.me = chat.me;
    this.files = chat.files;
  }

  nameOf(id) {
    return this._chat.store.nameOf(id);
  }

  failed(text) {
    this._page.notices.show(text, { bad: true });
  }

  /** Whether nothing can be written in the room. */
  closed() {
    return Boolean(this._chat.room?.archived);
  }

  retry(id) {
    this._chat.retry(id);
  }

  discard(id) {
    this._chat.discard(id);
  }

  /** Adds an own reaction, or takes it back. */
  react({ sequence, reactions }, emoji) {
    const mine = reactions.some((one) => one.emoji === emoji && one.mine);
    const said = { room: this._chat.current, message: sequence, emoji };
    this._chat.attempt(() => this._chat.command(mine ? "reaction.remove" : "reaction.add", said));
  }

  pickReaction(anchor, row) {
    pickEmoji(anchor, (emoji) => this.react(row, emoji));
  }

  reply(row) {
    this._composer.answer(row);
  }

  openThread(root) {
    this._page.openThread(root);
  }

  jump(sequence, room = null) {
    this._page.jump(sequence, room);
  }

  person(anchor, user) {
    showPersonMenu(anchor, this._chat, user, this._page.notices);
  }

  /** The menu of a message. */
  menu(anchor, row) {
    const chat = this._chat;
    const { room } = chat;
    const open = !room.archived;
    const moderates = chat.rooms.moderates(room);
    const mayPin = open && (moderates || room.kind === "direct");
    const does = (name, more = {}) => chat.attempt(() => chat.command(name, { room: room.id, message: row.sequence, ...more }));
    showMenu(anchor, [
      open && row.mine && { icon: "edit", text: "Edit", testid: "edit-message", run: () => this._composer.edit(row) },
      mayPin && { icon: "pin", text: row.pinned ? "Unpin" : "Pin", testid: "pin-message", run: () => does(row.pinned ? "message.unpin" : "message.pin") },
      { icon: "forward", text: "Forward", testid: "forward-message", run: () => this._forward(row) },
      row.body !== "" && { icon: "copy", text: "Copy text", testid: "copy-message", run: () => this._copy(row.body) },
      { icon: "unread", text: "Mark unread", testid: "mark-unread", run: () => chat.attempt(() => chat.markUnread(row.sequence)) },
      null,
      !row.mine && { icon: "flag", text: "Report", testid: "report-message", run: () => new ReportDialog(chat, row, this._page.notices).show() },
      open && (row.mine || moderates) && { icon: "trash", text: "Delete", danger: true, testid: "delete-message", run: () => this._remove(row, does) },
    ].filter((item) => item !== false), { label: "Message", testid: "message-menu-items" });
  }

  async _remove(row, does) {
    const text = "The text and its files are removed for everybody, for good.";
    if (await confirmDialog({ id: "delete", title: "Delete this message?", text, confirm: "Delete", danger: true })) does("message.delete");
  }

  async _copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      this._page.notices.show("The text is on the clipboard.");
    } catch {
      this.failed("This browser does not let the page use the clipboard.");
    }
  }

  _forward(row) {
    const chat = this._chat;
    const from = chat.room.id;
    const send = async (room) => {
      dialog.close();
      const sent = await chat.attempt(() => chat.command("message.send", { room: room.id, body: "", forward: { room: from, message: row.sequence } }));
      if (sent) this._page.notices.show(`Forwarded to ${chat.store.titleOf(room)}.`);
    };
    const rooms = chat.store.joined().filter(({ archived }) => !archived);
    const dialog = makeDialog("forward", "Forward to", h("p", { class: "dialog-text" }, "Who may not see this room will not see the message."),
      h("ul", { class: "pick-list" }, rooms.map((room) => h("li", {}, h("button", { type: "button", class: "pick", testid: "forward-room", onclick: () => send(room) }, chat.store.titleOf(room))))));
    dialog.showModal();
  }
}
