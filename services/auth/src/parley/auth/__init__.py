"""Who is who: accounts, access tokens, bans, and the admin API.

Auth owns the Postgres schema `auth` and is the only service that signs or verifies tokens. Gateways ask it over NATS
(`identity`), people and bots over HTTP (`http`).

Invariants: a password or a refresh token is stored only as a hash; a ban or a revocation is committed before anyone
is told of it; issuing tokens and revoking them lock the user's row, so each token is issued before or after a
revocation and never during it.

Start with `tables` (what is kept) and `identity` (what gateways ask); the rest serves these or changes them.

Reading order: `settings` and `providers_file`, `names`, `email_address` and `password_policy` (what is configured, and
what texts are accepted), `database`, `metrics` and `outbound` (what it works with), `tables`, `login_tables` and
`user_rows` (what is stored), `clock` (the time tokens go by), `tokens` (what a token proves), `accounts` (passwords,
sessions, bots), `standing` (who is kept out), `full_admins` (who may act on whom), `identity` (what gateways ask),
`moderation` (kick, ban, suspend, audit), `mail` (addresses, and what is sent to them), `factors` (second factors and
passkeys), `oidc` (logins elsewhere), `http`, `components` and `app` (what it is made of).
"""
