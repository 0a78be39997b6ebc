/** Names in what is being written: what to offer behind an `@`, and whom a text mentions. Pure. */

const MOST_OFFERED = 8;
const MOST_MENTIONED = 50;
const BEGUN = /(?:^|[\s([{"'])@([^\s@]{0,32})$/u;
const FENCED = /```[\s\S]*?(?:```|$)/gu;
const CODE = /`[^`\n]*`/gu;
const QUOTED = /^>.*$/gmu;

/** The `@` word that ends at the caret: `{from, query}`, or null. */
export function mentionAt(text, caret) {
  const found = BEGUN.exec(text.slice(Math.max(0, caret - 64), caret));
  return found && { from: caret - found[1].length - 1, query: found[1] };
}

/** Whom to offer for what was written of a name: `[{id, name}]`; `@all` and `@here` for who may call everybody. */
export function offered(query, members, { me, everybody = false }) {
  const wanted = query.toLocaleLowerCase();
  const begins = (name) => name.toLocaleLowerCase().split(/[\s._-]+/u).some((word) => word.startsWith(wanted)) || name.toLocaleLowerCase().startsWith(wanted);
  const people = members.filter(({ id, name, state }) => id !== me && state !== "invited" && begins(name)).sort((a, b) => a.name.localeCompare(b.name));
  const all = everybody ? [{ id: "", name: "all", hint: "Everybody in this room" }, { id: "", name: "here", hint: "Everybody who is here now" }] : [];
  return [...people, ...all.filter(({ name }) => name.startsWith(wanted))].slice(0, MOST_OFFERED);
}

/** Whom a text mentions, as fields of `message.send`. Names in code and in quoted lines are none. */
export function mentionsIn(text, members, { me, everybody = false }) {
  let spoken = text.replace(FENCED, " ").replace(CODE, " ").replace(QUOTED, " ").toLocaleLowerCase();
  if (!spoken.includes("@")) return {};
  const mentions = [];
  // The longest first, so that who is called "Ann Lee" is not taken for "Ann".
  for (const { id, name, state } of [...members].sort((a, b) => b.name.length - a.name.length)) {
    if (id === me || state === "invited" || mentions.length === MOST_MENTIONED) continue;
    const rest = without(spoken, `@${name.toLocaleLowerCase()}`);
    if (rest === spoken) continue;
    spoken = rest;
    mentions.push(id);
  }
  const says = (word) => everybody && without(spoken, word) !== spoken;
  return { ...(mentions.length && { mentions }), ...(says("@all") && { mention_all: true }), ...(says("@here") && { mention_here: true }) };
}

function without(text, name) {
  let rest = text;
  for (let at = rest.indexOf(name); at >= 0; at = rest.indexOf(name, at + 1)) {
    const ends = !/^[\p{L}\p{N}_]/u.test(rest.slice(at + name.length));
    const begins = at === 0 || !/[\p{L}\p{N}_]$/u.test(rest.slice(0, at));
    if (begins && ends) rest = `${rest.slice(0, at)} ${rest.slice(at + name.length)}`;
  }
  return rest;
}
