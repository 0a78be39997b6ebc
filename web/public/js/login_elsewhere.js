/** Logins at an identity provider: the browser goes there and comes back with a code in the page's address. */

import { request } from "./api.js";

/**
 * How one can sign in besides by a password: `{providers: [{name, label, start}], password_reset, passkeys_for}`, in no
 * way when the server cannot be asked.
 */
export async function waysToSignIn() {
  const found = await request("GET", "/auth/providers").catch(() => null);
  return found ?? { providers: [], password_reset: false, passkeys_for: "" };
}

/** Where a button leads: to the provider, and back to this page. */
export function startOf(provider, page = location) {
  return `${provider.start}?${new URLSearchParams({ return_to: `${page.pathname}${page.hash}` })}`;
}

/**
 * What a login ended with, `{code}` or `{error, message}`, or null on an ordinary visit. It is taken out of the address:
 * a code works once, and is nobody's business in a bookmark.
 */
export function takeAnswer(page = location, visits = history) {
  const query = new URLSearchParams(page.search);
  const [code, error] = [query.get("code"), query.get("error")];
  if (!code && !error) return null;
  const message = query.get("error_description") ?? "You could not be signed in. Please try again.";
  for (const name of ["code", "state", "error", "error_description"]) query.delete(name);
  visits.replaceState(null, "", `${page.pathname}${query.size ? `?${query}` : ""}${page.hash}`);
  return code ? { code } : { error, message };
}
