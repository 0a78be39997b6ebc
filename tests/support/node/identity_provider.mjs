// An OpenID Connect provider on loopback: `node identity_provider.mjs PORT CLIENTS`. Whoever gives a name is logged in.
//
// `POST /control/keys` gives it new keys. What it keeps outlives that: all its generations share one memory.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";

const [port, clients] = [Number(process.argv[2]), JSON.parse(process.argv[3])];
const issuer = `http://127.0.0.1:${port}`;
const cookies = { keys: [randomUUID()] };
const scopes = ["openid", "profile", "email", "groups"];

function account(id) {
  const claims = { sub: id, name: `${id[0].toUpperCase()}${id.slice(1)} of the company`, preferred_username: id };
  const groups = id === "root" ? ["chat-admins"] : ["staff"];
  return { accountId: id, claims: () => ({ ...claims, email: `${id}@example.com`, email_verified: true, groups }) };
}

/** Consents for everybody: that is no part of what is tested. */
async function consent(ctx) {
  const { client, session, provider } = ctx.oidc;
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(scopes.join(" "));
  await grant.save();
  return grant;
}

function generation() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };
  return new Provider(issuer, {
    clients,
    cookies,
    jwks: { keys: [key] },
    scopes,
    claims: { openid: ["sub"], profile: ["name", "preferred_username"], email: ["email", "email_verified"], groups: ["groups"] },
    findAccount: (_ctx, id) => account(id),
    loadExistingGrant: consent,
    pkce: { required: () => true },
    // Its own refuses loopback addresses.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    features: { backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true }, devInteractions: { enabled: true } },
  }).callback();
}

let serve = generation();
createServer((request, response) => {
  if (request.url !== "/control/keys") return serve(request, response);
  serve = generation();
  response.writeHead(204).end();
}).listen(port, "127.0.0.1");
