"""The tables of schema `auth`. Alembic owns the schema (`migrations/`); these describe it and name its columns."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(schema="auth")

users = Table(
    "users",
    metadata,
    # `u_<uuid7 hex>` for accounts made here, the token's `sub` for an adopter's own users.
    Column("id", Text, primary_key=True),
    Column("username", Text),
    Column("name", Text, nullable=False),
    Column("password_hash", Text),
    Column("roles", ARRAY(Text), nullable=False, server_default="{}"),
    Column("kind", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    # Every token issued up to this moment is refused.
    Column("revoked_before", DateTime(timezone=True)),
    CheckConstraint("kind IN ('local', 'external')", name="users_kind_check"),
    Index("users_created_at_idx", "created_at", "id"),
)
Index("users_username_key", func.lower(users.c.username), unique=True)

bans = Table(
    "bans",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("banned_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("expires_at", DateTime(timezone=True)),  # null: for ever
    Column("lifted_at", DateTime(timezone=True)),
    # At most one ban of a user stands, so the hot path reads one row and needs no aggregate.
    Index("bans_standing_key", "user_id", unique=True, postgresql_where=text("lifted_at IS NULL")),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),  # `s_<uuid7 hex>`
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("last_used_at", DateTime(timezone=True), nullable=False),  # at login, and at each refresh since
    Column("expires_at", DateTime(timezone=True), nullable=False),  # however often it is refreshed
    # From then on no token of it is any good, and the row may go.
    Column("usable_until", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("device", Text, nullable=False),  # in short what its User-Agent said
    Column("address", Text, nullable=False),
    Column("method", Text, nullable=False),  # how its user proved who they are
    Index("sessions_user_id_idx", "user_id"),
    Index("sessions_usable_until_idx", "usable_until"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),  # SHA-256 of the token
    Column("session_id", Text, ForeignKey("auth.sessions.id", ondelete="CASCADE"), nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    # Spent; the row stays for the period of grace.
    Column("used_at", DateTime(timezone=True)),
    Index("refresh_tokens_session_id_idx", "session_id"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("private_key", Text, nullable=False),  # PEM, PKCS 8
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("admin_id", Text, nullable=False),
    Column("admin_name", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("correlation", Text, nullable=False),
    # Who was kicked, and when: what a gateway missed of it is found here.
    Index("audit_kicks_idx", "target", "at", postgresql_where=text("action = 'user.kick'")),
)

gateways = Table(
    "gateways",
    metadata,
    Column("address", Text, primary_key=True),  # of one run: its name and its run id
    Column("started", BigInteger, nullable=False),  # as it says itself, in Unix milliseconds
    # Written when it begins to live or falls silent, and every minute between.
    Column("last_heard", DateTime(timezone=True), nullable=False),
)
