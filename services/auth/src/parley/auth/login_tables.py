"""The tables of what people log in with besides a password, or instead of one.

Other providers and what a login there leads to, addresses for mail, second factors, passkeys.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from parley.auth.tables import metadata

provider_accounts = Table(
    "identities",
    metadata,
    # Who somebody is at a provider of OpenID Connect. The provider's name here may change; these two do not.
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    # What it said at the last login: what was changed here since is told from it.
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),  # in lower case; empty unless verified
    Column("roles", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("last_login_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Index("identities_user_id_idx", "user_id"),
    Index("identities_address_idx", "address", postgresql_where=text("address <> ''")),
)

oidc_logins = Table(
    "oidc_logins",
    metadata,
    Column("state", LargeBinary, primary_key=True),  # SHA-256
    Column("browser", LargeBinary, nullable=False),  # SHA-256 of what its cookie holds
    Column("address", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("verifier", Text, nullable=False),  # of PKCE, towards the provider
    Column("redirect_uri", Text, nullable=False),  # our own, as the provider was told
    Column("destination", Text, nullable=False),  # where the browser goes in the end
    Column("app_state", Text, nullable=False),
    Column("challenge", Text, nullable=False),  # of the app's PKCE; empty for our own pages
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("oidc_logins_expires_at_idx", "expires_at"),
    Index("oidc_logins_address_idx", "address"),
)

login_codes = Table(
    "login_codes",
    metadata,
    Column("code", LargeBinary, primary_key=True),  # SHA-256
    Column("browser", LargeBinary, nullable=False),
    Column("challenge", Text, nullable=False),
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("provider_session", Text, nullable=False),
    Column("id_token", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("login_codes_expires_at_idx", "expires_at"),
)

provider_sessions = Table(
    "provider_sessions",
    metadata,
    # Which session of a provider one of ours came from, and what the provider wants to see when it ends.
    Column("session_id", Text, ForeignKey("auth.sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("provider_session", Text, nullable=False),  # empty: the provider names none
    Column("id_token", Text, nullable=False),
    Index("provider_sessions_subject_idx", "issuer", "subject"),
    Index("provider_sessions_session_idx", "issuer", "provider_session"),
)

provider_logouts = Table(
    "provider_logouts",
    metadata,
    # Logout tokens that were taken: no one works twice, and a login that was under way then does not outlive it.
    Column("issuer", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("provider_session", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Index("provider_logouts_at_idx", "at"),
)


emails = Table(
    "emails",
    metadata,
    # Verified addresses alone: one that is not yet is in its mail's token.
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), primary_key=True),
    Column("address", Text, nullable=False),
    # As it is compared, in small letters: nobody else may have it.
    Column("address_key", Text(collation="C"), nullable=False),
    Column("verified_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Index("emails_address_key", "address_key", unique=True),
)

mail_tokens = Table(
    "mail_tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),  # SHA-256 of what the mail says
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("address", Text, nullable=False),  # where the mail went
    Column("password", LargeBinary, nullable=False),  # SHA-256 of the hash that the password had then
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("purpose IN ('verify', 'reset')", name="mail_tokens_purpose_check"),
    Index("mail_tokens_user_id_idx", "user_id", "purpose"),
    Index("mail_tokens_expires_at_idx", "expires_at"),
)

totp = Table(
    "totp",
    metadata,
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),  # the secret under a key that this database does not need to hold
    Column("key", LargeBinary, nullable=False),  # which key that is
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("confirmed_at", DateTime(timezone=True)),  # null: not in use yet
    Column("last_step", BigInteger, nullable=False, server_default="0"),  # of the last code that was taken
)

code_guesses = Table(
    "code_guesses",
    metadata,
    # Wrong codes of a user's second step within one window: of strangers, and of devices that were let in before.
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), primary_key=True),
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("strangers", Integer, nullable=False, server_default="0"),
    Column("known", Integer, nullable=False, server_default="0"),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("hash", LargeBinary, primary_key=True),  # SHA-256 of the code and its user
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("used_at", DateTime(timezone=True)),
    Index("recovery_codes_user_id_idx", "user_id"),
)

passkeys = Table(
    "passkeys",
    metadata,
    Column("id", Text, primary_key=True),  # `pass_<uuid7 hex>`
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("credential", LargeBinary, nullable=False),  # as the authenticator names it
    Column("public_key", LargeBinary, nullable=False),  # COSE
    Column("sign_count", BigInteger, nullable=False),
    Column("transports", ARRAY(Text), nullable=False),
    Column("name", Text, nullable=False),
    Column("backed_up", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("last_used_at", DateTime(timezone=True)),
    Index("passkeys_user_id_idx", "user_id"),
    Index("passkeys_credential_key", "credential", unique=True),
)

spent_tickets = Table(
    "spent_tickets",
    metadata,
    # Tickets of a login's steps, and challenges of passkeys, that were used before their time was over.
    Column("hash", LargeBinary, primary_key=True),  # SHA-256
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("spent_tickets_expires_at_idx", "expires_at"),
)
