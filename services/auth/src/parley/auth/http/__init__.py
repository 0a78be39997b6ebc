"""What people, bots and administrators ask.

Reading order: `endpoints`, with `device_cookie` and `login_gate`; `login_steps`
(what follows a password), `own_sessions`, `me`, `mail`, `factors`, `passkeys`, `bots`, `oidc`, then `admin`.
"""
