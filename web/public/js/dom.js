/**
 * Building the page from nodes. Text only ever becomes a text node, so nothing a user wrote can become markup.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an element. `class`, `testid` and `on<event>` are understood; any other property becomes an attribute, `true`
 * an empty one, `false` and `null` none. Strings among the children become text nodes.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "testid") element.dataset.testid = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PATHS = {
  hash: "M5 9h15M4 15h15M10 4 8 20M16 4l-2 16",
  lock: "M7 11V8a5 5 0 0 1 10 0v3M6 11h12a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1z",
  plus: "M12 5v14M5 12h14",
  compass: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM15.5 8.5l-2 5-5 2 2-5z",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4",
  users: "M9 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM3 20c0-3.3 2.7-5 6-5s6 1.7 6 5M16 5.3a3.5 3.5 0 0 1 0 6.4M17.5 15.3c2.2.6 3.5 2.2 3.5 4.7",
  invite: "M10 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM4 20c0-3.3 2.7-5 6-5s6 1.7 6 5M18 8v6M15 11h6",
  leave: "M14 4H6a1 1 0 0 0-1 1v14a1 1 0 0 0 1 1h8M10 12h11M17 8l4 4-4 4",
  send: "M5 12h13M12 5l7 7-7 7",
  close: "M6 6l12 12M18 6 6 18",
  back: "M15 5l-7 7 7 7",
  down: "M12 5v14M6 13l6 6 6-6",
  check: "M5 12.5l4.5 4.5L19 7.5",
  alert: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v5M12 16v.01",
  clock: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4l3 2",
  copy: "M9 9h10v11H9zM5 15V4h10",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  chat: "M5 5h14a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-7l-5 4v-4H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1z",
  bell: "M6 16V11a6 6 0 0 1 12 0v5l1.5 2h-15zM10 20.5h4",
  pin: "M9 4h6l-1 6 3 3v2H7v-2l3-3zM12 15v6",
  thread: "M4 6h16M4 11h10M9 16h11M14 20h6M5 11v3a2 2 0 0 0 2 2h2",
  reply: "M9 7l-5 5 5 5M4 12h9a6 6 0 0 1 6 6v1",
  forward: "M15 7l5 5-5 5M20 12h-9a6 6 0 0 0-6 6v1",
  smile: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM8.5 14a4 4 0 0 0 7 0M9.5 9.5v.01M14.5 9.5v.01",
  attach: "M19 11.5l-7 7a4.5 4.5 0 0 1-6.4-6.4l7.5-7.5a3 3 0 0 1 4.3 4.3l-7.4 7.4a1.5 1.5 0 0 1-2.2-2.1l6.7-6.7",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  flag: "M6 21V4h11l-2 4 2 4H6",
  unread: "M4 7h11M4 12h16M4 17h16M19 5.5v.01",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  shield: "M12 3l7 3v5c0 4.5-3 8-7 10-4-2-7-5.500-7-10V6z",
  crown: "M4 8l4 4 4-7 4 7 4-4-2 10H6z",
  mute: "M5 10v4h3l4 4V6L8 10zM16 10l4 4M20 10l-4 4",
  ban: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM6.500 6.500l11 11",
  block: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM8 12h8",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  save: "M12 4v11M7 11l5 5 5-5M5 20h14",
  slash: "M5 4h14v16H5zM14 8l-4 8",
  seen: "M3 13l4 4 8-9M12 16l1 1 8-9",
  server: "M5 4h14v6H5zM5 14h14v6H5zM8 7h.01M8 17h.01",
};

/** Makes one of the page's icons; it is decoration, its control carries the label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [["viewBox", "0 0 24 24"], ["class", "icon"], ["aria-hidden", "true"]]) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Makes a button that shows an icon and says what it does. */
export function iconButton(name, label, properties = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, ...properties }, icon(name));
}

/** The product's mark. */
export function logo() {
  return h("img", { class: "logo", src: "/favicon.svg", alt: "", width: "32", height: "32" });
}
