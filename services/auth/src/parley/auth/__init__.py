"""Who is who: accounts, access tokens, bans, and the admin API.

Auth owns the Postgres schema `auth` and is the only service that signs or verifies tokens. Gateways ask it over NATS
(`responders`), people and bots over HTTP (`endpoints`, `admin_users`, `admin_rooms`); `app.create_app` wires it.

Invariants: a password or a refresh token is stored only as a hash; a ban or a revocation is committed before anyone
is told of it; issuing tokens and revoking them lock the user's row, so each token is issued before or after a
revocation and never during it.
"""
