/** Makes a new room. */

import { h, icon } from "../dom.js";
import { makeDialog, submitting } from "./dialog.js";

export class CreateDialog {
  constructor(chat) {
    this._chat = chat;
    this._name = h("input", { id: "room-name-input", testid: "room-name-input", required: true, maxlength: "100", autocomplete: "off",
      placeholder: "for example: design", autofocus: true });
    this._error = h("p", { class: "form-error", role: "alert", testid: "create-error" });
    this._button = h("button", { class: "button primary", id: "create-submit", testid: "create-submit" }, "Create room");
    this._form = h("form", { onsubmit: (event) => this._submit(event) },
      h("div", { class: "field" }, h("label", { for: "room-name-input" }, "Name"), this._name),
      h("fieldset", { class: "choices" }, h("legend", {}, "Who can join"),
        choice("public", "hash", "Public", "Anyone on this server can find and join it.", true),
        choice("private", "lock", "Private", "Only people who are invited.", false)),
      this._error,
      h("div", { class: "dialog-actions" },
        h("button", { type: "button", class: "button", onclick: () => this._dialog.close() }, "Cancel"), this._button));
  }

  show() {
    this._dialog = makeDialog("create", "Create a room", this._form);
    this._dialog.showModal();
  }

  async _submit(event) {
    event.preventDefault();
    const kind = new FormData(this._form).get("kind");
    const made = await submitting(this._button, this._error, () => this._chat.rooms.create(this._name.value.trim(), kind));
    if (made) this._dialog.close();
  }
}

function choice(value, glyph, title, text, checked) {
  return h("label", { class: "choice" },
    h("input", { type: "radio", name: "kind", value, checked, testid: `kind-${value}` }),
    icon(glyph), h("span", {}, h("strong", {}, title), h("small", {}, text)));
}
