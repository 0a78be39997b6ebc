/** Passkeys: what the browser can do with them for this host. */

/** Whether passkeys for a domain can be used on this page. */
export function passkeysWork(domain, page = globalThis) {
  const host = page.location.hostname;
  const here = Boolean(domain) && (host === domain || host.endsWith(`.${domain}`));
  return here && typeof page.PublicKeyCredential?.parseRequestOptionsFromJSON === "function";
}

/** Has the user choose a passkey and show it. Raises an `Error` with words for people. */
export function usePasskey(options) {
  return asked(() => navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) }));
}

/** Has the user make a passkey. Raises an `Error` with words for people. */
export function makePasskey(options) {
  return asked(() => navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) }));
}

async function asked(ask) {
  try {
    return (await ask()).toJSON();
  } catch (error) {
    if (error.name === "InvalidStateError") throw new Error("This device has a passkey for your account already.");
    throw new Error("No passkey was used. Please try again.");
  }
}
