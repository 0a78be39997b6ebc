"""The tables of schema `chat`. Alembic owns the schema (`migrations/`); these describe it and name its columns.

`events` is the log and the only truth; `rooms` and `members` are projections of it and can be rebuilt.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = MetaData(schema="chat")

events = Table(
    "events",
    metadata,
    # The global order, for tailing readers; it never leaves chat.
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("room_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("event_id", UUID(as_uuid=True), nullable=False),
    Column("type", Text, nullable=False),
    Column("schema_version", SmallInteger, nullable=False, server_default="1"),
    Column("actor_id", Text, nullable=False),
    Column("command_id", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    # actor_name, correlation (follows the command from the socket), fingerprint (tells a resend from an id reused)
    Column("metadata", JSONB, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("room_id", "sequence", name="events_pkey"),
    UniqueConstraint("room_id", "actor_id", "command_id", name="events_command_key"),
    Index("events_position_idx", "position", unique=True),
)

rooms = Table(
    "rooms",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("archived", Boolean, nullable=False, server_default="false"),
    Column("head", BigInteger, nullable=False),
    Column("member_count", BigInteger, nullable=False, server_default="0"),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    # The beacon of room heads asks for what moved in the last seconds.
    Index("rooms_updated_at_idx", "updated_at"),
    Index("rooms_public_idx", "created_at", "id", postgresql_where=text("kind = 'public'")),
)

members = Table(
    "members",
    metadata,
    Column("room_id", Text, ForeignKey("chat.rooms.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),  # invited | joined
    Column("role", Text, nullable=False),  # owner | member
    Column("sequence", BigInteger, nullable=False),  # of the event that led to this state
    PrimaryKeyConstraint("room_id", "user_id", name="members_pkey"),
    Index("members_user_id_idx", "user_id"),
)
