"""What people, bots and administrators ask.

Reading order: `endpoints`, with `device_cookie` and `login_gate`; `own_sessions`, `me`, `bots`, `oidc`, then `admin`.
"""
