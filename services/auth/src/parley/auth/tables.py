"""The tables of schema `auth`. Alembic owns the schema (`migrations/`); these describe it and name its columns."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, JSONB

metadata = MetaData(schema="auth")

users = Table(
    "users",
    metadata,
    # `u_<uuid7 hex>` for accounts made here, the token's `sub` for an adopter's own users.
    Column("id", Text, primary_key=True),
    Column("username", Text),
    # The username as it is compared: made here, so that no database's collation has a say in it.
    Column("username_key", Text(collation="C")),
    Column("name", Text, nullable=False),
    Column("password_hash", Text),
    Column("roles", ARRAY(Text), nullable=False, server_default="{}"),
    Column("kind", Text, nullable=False),
    Column("avatar_url", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    # Every token issued up to this moment is refused.
    Column("revoked_before", DateTime(timezone=True)),
    # Of a bot alone: whoever answers for it, and whose rights cap its own.
    Column("owner_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE", name="users_owner_id_fkey")),
    # Who logs in with the password there is has to choose another one before they are in.
    Column("password_change_required", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("kind IN ('local', 'external', 'bot')", name="users_kind_check"),
    CheckConstraint("(kind = 'bot') = (owner_id IS NOT NULL)", name="users_owner_check"),
    Index("users_owner_id_idx", "owner_id", postgresql_where=text("owner_id IS NOT NULL")),
    Index("users_created_at_idx", "created_at", "id"),
    Index("users_username_key", "username_key", unique=True),
)

# What usernames look like: nobody else may have one that looks the same.
username_skeletons = Table(
    "username_skeletons",
    metadata,
    Column("skeleton", Text(collation="C"), primary_key=True),
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Index("username_skeletons_user_id_idx", "user_id"),
)

# Accounts that were deleted, of which chat has yet to erase what was written, or has.
deletions = Table(
    "deletions",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("next_at", DateTime(timezone=True), nullable=False),  # when chat is asked again
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("erasure", Text),  # chat's name for it, once it has it
    Column("once_more", Boolean, nullable=False, server_default=text("false")),
    Column("completed_at", DateTime(timezone=True)),
    Index("deletions_open_idx", "next_at", postgresql_where=text("completed_at IS NULL")),
)

bans = Table(
    "bans",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("banned_by", Text, nullable=False),
    # The right of whoever set it, as it was then: who may less does not lift it. 2 is `moderate`, the least it takes.
    Column("right_to_lift", Integer, nullable=False, server_default="2"),
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

suspensions = Table(
    "suspensions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("suspended_by", Text, nullable=False),
    Column("right_to_lift", Integer, nullable=False, server_default="2"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("expires_at", DateTime(timezone=True)),  # null: until it is lifted
    Column("lifted_at", DateTime(timezone=True)),
    Index("suspensions_standing_key", "user_id", unique=True, postgresql_where=text("lifted_at IS NULL")),
)

address_bans = Table(
    "address_bans",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("range", CIDR, nullable=False),
    Column("reason", Text, nullable=False),
    Column("banned_by", Text, nullable=False),
    Column("right_to_lift", Integer, nullable=False, server_default="2"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("expires_at", DateTime(timezone=True)),
    Column("lifted_at", DateTime(timezone=True)),
    Index("address_bans_standing_key", "range", unique=True, postgresql_where=text("lifted_at IS NULL")),
)

kicks = Table(
    "kicks",
    metadata,
    Column("id", Text, primary_key=True),  # `kick_<uuid7 hex>`
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("admin_id", Text, nullable=False),
    Column("users", ARRAY(Text), nullable=False),
    Column("ranges", ARRAY(Text), nullable=False),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("disconnected", Integer, nullable=False, server_default="0"),
    Column("carried_out_at", DateTime(timezone=True)),  # null: as far as anybody knows, no gateway was told
    Index("kicks_at_idx", "at"),
    Index("kicks_untold_idx", "at", postgresql_where=text("carried_out_at IS NULL")),
)

kick_gateways = Table(
    "kick_gateways",
    metadata,
    # The gateways that had not answered when the administrator was told, and what became of each.
    Column("kick_id", Text, ForeignKey("auth.kicks.id", ondelete="CASCADE"), primary_key=True),
    Column("address", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("settled_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('unanswered', 'answered', 'forgotten')", name="kick_gateways_state_check"),
    Index("kick_gateways_unanswered_idx", "kick_id", postgresql_where=text("state = 'unanswered'")),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),  # `pk_<16 hex>`, the beginning of the key itself
    Column("user_id", Text, ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),  # SHA-256 of the secret
    Column("secret_since", DateTime(timezone=True)),  # null: since the key is
    # After a rotation the secret before is good until then. It stays here until no gateway holds a connection by it.
    Column("previous_hash", LargeBinary),
    Column("previous_until", DateTime(timezone=True)),
    Column("previous_since", DateTime(timezone=True)),
    # The secret that was replaced without an overlap last is as old: what it left to be done later is not done.
    Column("cut_off_since", DateTime(timezone=True)),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),  # to the minutes
    Column("revoked_at", DateTime(timezone=True)),
    Index("api_keys_user_id_idx", "user_id"),
    Index("api_keys_rotated_idx", "previous_until", postgresql_where=text("previous_hash IS NOT NULL")),
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
    # What the entry is about as it was and as it became; null where there is nothing to compare.
    Column("before", JSONB),
    Column("after", JSONB),
    # How the client names its request, so that a retry leaves one entry; empty for none.
    Column("request_id", Text, nullable=False, server_default=""),
    Index(
        "audit_request_key",
        "admin_id",
        "request_id",
        "action",
        "target",
        unique=True,
        postgresql_where=text("request_id <> ''"),
    ),
    Index("audit_target_idx", "target", "id"),
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
