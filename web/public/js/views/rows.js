/** Brings a list's nodes in line with its rows, touching only what differs, so that focus and scroll stay. */

import { makeRow, stateOf } from "./message_row.js";

/** `known` are the nodes of before, by key; returns those of now. `entered(row)` says whether a new row comes in sight moving. */
export function renderRows(list, known, rows, actions, entered = () => false) {
  const nodes = new Map();
  rows.forEach((row, index) => {
    const state = stateOf(row);
    const before = known.get(row.key);
    const node = before?.state === state ? before.node : makeRow(row, actions);
    if (!before && entered(row)) node.classList.add("enter");
    // What is changed while a control in it has the focus must not lose it.
    const focused = before && before.node !== node && before.node.contains(document.activeElement) && document.activeElement.dataset.testid;
    nodes.set(row.key, { state, node });
    if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null);
    if (focused) node.querySelector(`[data-testid="${focused}"]`)?.focus({ preventScroll: true });
  });
  while (list.childElementCount > rows.length) list.lastChild.remove();
  return nodes;
}
