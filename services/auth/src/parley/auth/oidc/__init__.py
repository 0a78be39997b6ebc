"""Logins at OpenID Connect providers: authorization code with PKCE, and logouts that providers tell of.

| step | request below `/auth/oidc` | what is kept, and for how long |
|---|---|---|
| begun | `GET /{name}/start` | secrets in `auth.oidc_logins`, one in the browser's cookie; 10 min |
| come back | `GET /{name}/callback` | who it is, in `auth.login_codes`, under a code; 60 s |
| exchanged | `POST /token` | a session; in `auth.provider_sessions`, which of the provider's it came from |
| ended | `POST /{name}/backchannel-logout` | the logout token's id, in `auth.provider_logouts`; 1 h |

Each step takes what the one before it left, once; only the browser that began a login, or the app that knows its PKCE
verifier, can take the next. No token is ever part of a URL.

Reading order: `redirects` and `provider_tokens` (what is believed, pure), `provider` (what is asked of a provider),
`provider_accounts` (whose account it is), `logins`, `logouts`.
"""
