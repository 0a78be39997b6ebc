/** Finds web addresses in what people write. Pure: it returns parts and leaves making nodes to the caller. */

const ADDRESS = /\bhttps?:\/\/[^\s<>"']+/giu;
const CLOSERS = { ")": "(", "]": "[", "}": "{" };

/**
 * Splits text into `{text}` and `{text, href}` parts that together are the text again. Only http and https become
 * links; punctuation that ends the sentence rather than the address stays outside.
 */
export function splitLinks(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = withoutTrailingPunctuation(match[0]);
    const href = parse(address);
    if (!href) continue;
    if (match.index > from) parts.push({ text: text.slice(from, match.index) });
    parts.push({ text: address, href });
    from = match.index + address.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from) });
  return parts;
}

function withoutTrailingPunctuation(address) {
  // Found once and not in the loop: a text of nothing but brackets must not cost the square of its length.
  const opened = Object.fromEntries(Object.values(CLOSERS).map((opener) => [opener, address.indexOf(opener)]));
  let end = address.length;
  for (;;) {
    const last = address[end - 1];
    const opener = CLOSERS[last];
    const unbalanced = opener && opened[opener] === -1;
    if (!unbalanced && !".,;:!?*_~".includes(last)) return address.slice(0, end);
    end -= 1;
  }
}

function parse(address) {
  try {
    const url = new URL(address);
    return url.hostname ? url.href : null;
  } catch {
    return null;
  }
}
