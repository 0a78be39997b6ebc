/** Times as people say them, in the reader's language and zone. */

const HOUR = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long" });
const FULL_DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** The time of day. */
export function timeOfDay(at) {
  return HOUR.format(new Date(at));
}

/** Day and time, for a tooltip. */
export function fullTime(at) {
  return FULL.format(new Date(at));
}

/** "Today", "Yesterday", a weekday of the last six days, else the date. */
export function dayName(at, now = new Date()) {
  const day = new Date(at);
  const age = Math.round((midnight(now) - midnight(day)) / 86_400_000);
  if (age === 0) return "Today";
  if (age === 1) return "Yesterday";
  if (age > 1 && age < 7) return WEEKDAY.format(day);
  return (day.getFullYear() === now.getFullYear() ? DAY : FULL_DAY).format(day);
}

function midnight(date) {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate());
}
