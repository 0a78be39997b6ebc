/** The files that go with what is being written: chosen, dropped or pasted, and sent while the text is still written. */

import { h, iconButton } from "../dom.js";
import { Upload } from "../uploads.js";
import { uploadNode } from "./attachments.js";

/** The server's limit on attachments of a message. */
const MOST_FILES = 10;

export class ComposerFiles {
  /** `name` begins the names of the parts; `changed` is called as files come, go and make way. */
  constructor(api, name, notices, changed) {
    this.uploads = [];
    this._api = api;
    this._notices = notices;
    this._changed = changed;
    this.input = h("input", { type: "file", multiple: true, hidden: true, testid: `${name}-files`, onchange: () => {
      this.add([...this.input.files]);
      this.input.value = "";
    } });
    this.button = iconButton("attach", "Attach files", { testid: `${name}-attach`, onclick: () => this.input.click() });
    this.tray = h("ul", { class: "uploads", testid: `${name}-uploads`, "aria-label": "Files to send" });
  }

  /** Whether one of them is not there yet, or never will be. */
  get waiting() {
    return this.uploads.some(({ state }) => state !== "ready");
  }

  add(files) {
    for (const file of files) {
      if (file.size === 0) {
        this._notices.show(`${file.name} is empty.`, { bad: true });
      } else if (this.uploads.length === MOST_FILES) {
        this._notices.show(`A message holds ${MOST_FILES} files.`, { bad: true });
        break;
      } else {
        this.uploads.push(new Upload(this._api, file, () => this._render()));
      }
    }
    this._render();
  }

  /** Files that are on the clipboard are attached; anything else is pasted as ever. */
  pasted(event) {
    const files = [...event.clipboardData.files];
    if (files.length === 0) return;
    event.preventDefault();
    this.add(files);
  }

  /** They have gone with a message. */
  taken() {
    this.uploads = [];
    this._render();
  }

  /** They are not sent: another room was opened. */
  drop() {
    for (const upload of this.uploads) upload.cancel();
    this.taken();
  }

  _render() {
    this.tray.replaceChildren(...this.uploads.map((upload) => uploadNode(upload, () => {
      upload.cancel();
      this.uploads = this.uploads.filter((one) => one !== upload);
      this._render();
    })));
    this._changed();
  }
}
