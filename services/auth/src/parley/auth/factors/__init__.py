"""Second factors: codes of an authenticator app (TOTP), passkeys (WebAuthn), and recovery codes.

| login | what it answers | then |
|---|---|---|
| a password, no factor | tokens | |
| a password, and a factor is on | `second_factor_required`, a ticket | `POST /auth/login/factor` with it and a factor |
| a passkey that has verified its user | tokens | |
| any, with a password to be changed | `password_change_required`, a ticket | `POST /auth/login/password` with it |

A ticket says what was proven, for five minutes and once, under a seal; no row is written for who has proven half. Who
changes the factors themselves shows a proof: a ticket for the password and, where one is on, a factor
(`POST /auth/factors/proof`).

Reading order: `tickets` (pure) and `spent_tickets`, `sealed_secrets`, `totp_codes` (pure) and `authenticator_apps`,
`recovery_codes`, `passkey_ceremonies` (pure) and `passkeys`, `code_guesses`, `factor_checks` (any of them),
`login_steps`, `own_factors`.
"""
