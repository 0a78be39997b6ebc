/** Slash commands of bots: what to offer while one is written, and what a written one says. Pure. */

const NAME = /^\/([a-z0-9_-]{0,32})$/u;
const WRITTEN = /^\/([a-z0-9_-]{1,32})(?:\s+([\s\S]*))?$/u;
const WORD = /(?:([a-z0-9_-]{1,32}):)?(?:"([^"]*)"|(\S+))/gu;

/** What was written of a command's name so far, or null where none is being written. */
export function slashAt(text, caret) {
  return NAME.exec(text.slice(0, caret))?.[1] ?? null;
}

/** The name of the command that a text gives, or null. */
export function slashName(text) {
  return WRITTEN.exec(text)?.[1] ?? null;
}

/**
 * The options of a written command: `name:value`, or in the order in which the command has them, the last one taking all
 * that is left. `userOf(name)` is the id of a member. Throws an `Error` that says what is wrong.
 */
export function slashOptions(text, command, userOf) {
  const rest = WRITTEN.exec(text)?.[2] ?? "";
  const wanted = command.options ?? [];
  const said = new Map();
  const loose = [];
  for (const [whole, name, quoted, word] of rest.matchAll(WORD)) {
    if (name && wanted.some((option) => option.name === name)) said.set(name, quoted ?? word);
    else loose.push(quoted ?? (name ? whole : word));
  }
  const unsaid = wanted.filter(({ name }) => !said.has(name));
  unsaid.forEach(({ name }, index) => {
    const value = index === unsaid.length - 1 ? loose.slice(index).join(" ") : loose[index];
    if (value) said.set(name, value);
  });
  const missing = wanted.find(({ name, required }) => required && !said.has(name));
  if (missing) throw new Error(`/${command.name} needs ${missing.name}.`);
  return Object.fromEntries(wanted.filter(({ name }) => said.has(name)).map((option) => [option.name, valueOf(option, said.get(option.name), userOf)]));
}

function valueOf({ name, type, choices }, text, userOf) {
  if (choices?.length && !choices.includes(text)) throw new Error(`${name} is one of ${choices.join(", ")}.`);
  if (type === "integer" || type === "number") {
    const number = Number(text);
    if (!Number.isFinite(number) || (type === "integer" && !Number.isInteger(number))) throw new Error(`${name} is a number.`);
    return number;
  }
  if (type === "boolean") return ["true", "yes", "on", "1"].includes(text.toLowerCase());
  if (type === "user") {
    const id = userOf(text.replace(/^@/u, ""));
    if (!id) throw new Error(`Nobody here is called ${text}.`);
    return id;
  }
  return text;
}

/** How a command is written, for its line in the list of what is offered. */
export function slashUsage({ name, options = [] }) {
  return [`/${name}`, ...options.map((option) => (option.required ? option.name : `[${option.name}]`))].join(" ");
}
