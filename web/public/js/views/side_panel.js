/** The pane at the right, in which one thing at a time is shown: members, a thread, pins, what was found, what is new. */

import { h, iconButton } from "../dom.js";

export class SidePanel {
  /** `closed` is called when the pane was shut by its user. */
  constructor(closed) {
    this._closed = closed;
    this._shown = null;
    this._title = h("h2", { id: "side-title" });
    this._button = iconButton("close", "Close", { testid: "close-panel", onclick: () => this.close() });
    this._content = h("div", { class: "panel-content" });
    this.element = h("aside", { id: "side-panel", testid: "side-panel", class: "side-panel", "aria-labelledby": "side-title", hidden: true,
      onkeydown: (event) => event.key === "Escape" && this.close() },
      h("header", { class: "panel-head" }, this._title, this._button), this._content);
  }

  /** The view that is shown, or null. */
  get shown() {
    return this._shown;
  }

  /** Shows a view: `{id, title, element, render()}`; `opener` gets the focus back. */
  show(view, opener = document.activeElement) {
    this._shown?.left?.();
    this._shown = view;
    this._opener = opener;
    this._title.textContent = view.title;
    this._button.dataset.testid = `close-${view.id}`;
    this.element.dataset.panel = view.id;
    this._content.replaceChildren(view.element);
    this.element.hidden = false;
    view.render();
    if (view.focus) view.focus();
    else this._button.focus();
  }

  /** Shows a view, or shuts the pane if it is that view's already. */
  toggle(view, opener) {
    if (this._shown?.id === view.id) this.close();
    else this.show(view, opener);
  }

  close() {
    if (!this._shown) return;
    const view = this._shown;
    this._shown = null;
    view.left?.();
    this.element.hidden = true;
    this._content.replaceChildren();
    if (this._opener?.isConnected) this._opener.focus();
    this._closed(view);
  }

  render() {
    this._shown?.render();
  }
}
