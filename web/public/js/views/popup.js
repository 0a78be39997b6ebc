/** Menus and pickers that float at the control that opened them, and go with Escape, a click elsewhere, or a choice. */

import { h, icon } from "../dom.js";

const MARGIN_PX = 8;
let open = null;

/** Shows content at an anchor; one at a time. Returns what closes it and gives the focus back. */
export function showPopup(anchor, content, { role = "menu", label, testid = "popup", className = "" } = {}) {
  open?.();
  const host = anchor.closest("dialog") ?? document.body;
  const popup = h("div", { class: `popup ${className}`, role, "aria-label": label, testid, onkeydown: (event) => keys(event, popup, close) }, content);
  const outside = (event) => popup.contains(event.target) || anchor.contains(event.target) || close(false);
  const close = (refocus = true) => {
    if (open !== close) return;
    open = null;
    popup.remove();
    anchor.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    removeEventListener("resize", away);
    if (refocus && anchor.isConnected) anchor.focus({ preventScroll: true });
  };
  const away = () => close(false);
  open = close;
  anchor.setAttribute("aria-expanded", "true");
  host.append(popup);
  place(popup, anchor);
  document.addEventListener("pointerdown", outside, true);
  addEventListener("resize", away);
  popup.querySelector("input, button:not(:disabled)")?.focus({ preventScroll: true });
  return close;
}

/** Shows a menu: `items` are `{text, icon, testid, danger, chosen, run}`, and null for a line between. */
export function showMenu(anchor, items, { label = "Actions", testid = "menu" } = {}) {
  const rows = items.filter((item, index) => item !== null || (index > 0 && items[index - 1] !== null)).map((item) => {
    if (item === null) return h("hr", {});
    return h("button", { type: "button", role: "menuitem", class: item.danger ? "danger" : "", testid: item.testid, onclick: () => {
      close();
      item.run();
    } }, icon(item.icon), h("span", {}, item.text, item.hint && h("small", {}, item.hint)), item.chosen && icon("check"));
  });
  const close = showPopup(anchor, rows, { label, testid, className: "popup-menu" });
  return close;
}

function keys(event, popup, close) {
  if (event.key === "Escape") {
    event.preventDefault();
    event.stopPropagation();
    close();
  }
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!step || event.target.matches("input")) return;
  event.preventDefault();
  const buttons = [...popup.querySelectorAll("button:not(:disabled)")];
  const at = buttons.indexOf(document.activeElement);
  buttons[(at + step + buttons.length) % buttons.length]?.focus();
}

/** Below the anchor where there is place, else above it; never outside the window. */
function place(popup, anchor) {
  const box = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = popup;
  const below = box.bottom + 4 + height < innerHeight - MARGIN_PX;
  const top = below ? box.bottom + 4 : Math.max(MARGIN_PX, box.top - height - 4);
  const left = Math.min(Math.max(MARGIN_PX, box.right - width), innerWidth - width - MARGIN_PX);
  popup.style.top = `${top}px`;
  popup.style.left = `${Math.max(MARGIN_PX, left)}px`;
}
