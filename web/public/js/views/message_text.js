/** What somebody wrote, as nodes: text nodes, links, and the few marks that people use. Never markup. */

import { h } from "../dom.js";
import { format } from "../formatting.js";

/** The nodes of a text. `names` are those of the users it mentions, `mine` is the reader's. */
export function textNodes(text, { names = [], mine = "" } = {}) {
  const blocks = format(text, { names, mine });
  return blocks.map((block, index) => {
    if (block.kind === "code") return h("pre", { class: "code-block" }, h("code", {}, block.text));
    const parts = block.parts.map(part);
    if (block.kind === "quote") return h("blockquote", {}, parts);
    // Blocks before and after break the line themselves.
    return blocks.length === 1 || index === blocks.length - 1 ? parts : h("div", {}, parts);
  }).flat();
}

function part({ text, href, style, mention }) {
  let node = text;
  if (href) node = h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, text);
  if (mention) node = h("span", { class: mention === "me" ? "mention me" : "mention", testid: "mention" }, text);
  return style ? h(style, {}, node) : node;
}
