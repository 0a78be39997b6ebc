/** Links that mails have, and invitations: behind `#`, so that what is secret in them is sent to no server by itself. */

const LINK = /^#(verify|reset|invite)=([A-Za-z0-9_-]{1,64})$/u;

/** Whether the address has such a link that was not taken yet. */
export function hasMailed(page = location) {
  return LINK.test(page.hash);
}

/** What such a link is for, `{purpose, token}`, or null on an ordinary visit. It is taken out of the address. */
export function takeMailed(page = location, visits = history) {
  const found = LINK.exec(page.hash);
  if (!found) return null;
  visits.replaceState(null, "", `${page.pathname}${page.search}`);
  return { purpose: found[1], token: found[2] };
}
