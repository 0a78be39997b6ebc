/**
 * What people mark in what they write: `code`, fences, **strong**, _emphasis_, ~~struck~~, > quotes, addresses, names.
 * Pure: it returns parts and leaves making nodes to the caller.
 */

import { splitLinks } from "./links.js";

const FENCE = /```(?:[a-z0-9+#-]{0,20}\n)?([\s\S]+?)```/giu;
const MARKS = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|~~([^~\n]+)~~|(?<![\p{L}\p{N}_])_([^_\n]+)_(?![\p{L}\p{N}_])|(?<![\p{L}\p{N}*])\*([^*\s][^*\n]*)\*(?![\p{L}\p{N}*])/gu;
const STYLES = ["code", "strong", "del", "em", "em"];

/**
 * Splits a text into blocks: `{kind: "code", text}`, or `{kind: "text" | "quote", parts}` whose parts are `{text, style?,
 * href?, mention?}`. `names` are those of mentioned users, `mine` is the reader's own: `mention` is then "me".
 */
export function format(text, { names = [], mine = "" } = {}) {
  const blocks = [];
  let from = 0;
  for (const found of text.matchAll(FENCE)) {
    addLines(blocks, text.slice(from, found.index).replace(/\n$/u, ""), names, mine);
    blocks.push({ kind: "code", text: found[1].replace(/\n$/u, "") });
    from = found.index + found[0].length;
  }
  addLines(blocks, from ? text.slice(from).replace(/^\n/u, "") : text, names, mine);
  return blocks;
}

/** A text without its marks, for where it stands in one line. */
export function plainText(text) {
  return format(text).map((block) => block.text ?? block.parts.map((part) => part.text).join("")).join(" ");
}

function addLines(blocks, text, names, mine) {
  if (!text) return;
  let run = [];
  let quoted = null;
  const end = () => {
    if (run.length) blocks.push({ kind: quoted ? "quote" : "text", parts: inline(run.join("\n"), names, mine) });
    run = [];
  };
  for (const line of text.split("\n")) {
    const isQuote = line.startsWith(">");
    if (isQuote !== quoted) end();
    quoted = isQuote;
    run.push(isQuote ? line.replace(/^>\s?/u, "") : line);
  }
  end();
}

function inline(text, names, mine) {
  const parts = [];
  for (const part of splitLinks(text)) {
    if (part.href) parts.push(part);
    else parts.push(...marked(part.text).flatMap((piece) => (piece.style === "code" ? [piece] : named(piece, names, mine))));
  }
  return parts;
}

function marked(text) {
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(MARKS)) {
    if (found.index > from) parts.push({ text: text.slice(from, found.index) });
    const which = found.slice(1).findIndex((group) => group !== undefined);
    parts.push({ text: found[which + 1], style: STYLES[which] });
    from = found.index + found[0].length;
  }
  if (from < text.length) parts.push({ text: text.slice(from) });
  return parts;
}

function named(part, names, mine) {
  if (names.length === 0 || !part.text.includes("@")) return [part];
  const sorted = [...names].sort((a, b) => b.length - a.length).map((name) => name.replace(/[.*+?^${}()|[\]\\]/gu, "\\$&"));
  const pieces = part.text.split(new RegExp(`(@(?:${sorted.join("|")}))(?![\\p{L}\\p{N}_])`, "iu"));
  return pieces.map((text, index) => {
    if (index % 2 === 0) return { ...part, text };
    return { ...part, text, mention: text.slice(1).toLocaleLowerCase() === mine.toLocaleLowerCase() ? "me" : "other" };
  }).filter(({ text }) => text);
}
