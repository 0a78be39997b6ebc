"""Mail, and what is proven by it: that an address is somebody's, and that an account is.

| step | request | what is kept, and for how long |
|---|---|---|
| an address is set | `PUT /auth/me/email` | a token's hash in `auth.mail_tokens`; 1 day |
| and verified | `POST /auth/me/email/confirm`, by the same user | the address in `auth.emails` |
| a reset is asked for | `POST /auth/password-reset` | a token's hash; 1 h |
| and done | `POST /auth/password-reset/confirm` | another password; all sessions end |

A token is in the mail alone, works once, and not any more when the password has changed meanwhile. What is asked
without a login is answered before anybody looks whether there is such an account.

Reading order: `letters` (what is written, pure), `mailer` and its two ways out, `smtp_delivery` and `printed_mail`,
`mail_tokens`, `own_address`, `password_resets`.
"""
