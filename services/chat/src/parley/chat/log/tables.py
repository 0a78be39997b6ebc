"""The tables of schema `chat`. Alembic owns the schema (`migrations/`); these describe it and name its columns.

`events` is the log and the only truth; `rooms`, `members` and `declined` are projections of it and can be rebuilt. All
but `log`, `consumers` and `erasures` are keyed by room first, and none refers to another: they can be partitioned, or
spread over servers, by room alone.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, UUID
from sqlalchemy.types import UserDefinedType

metadata = MetaData(schema="chat")


class Xid8(UserDefinedType[int]):
    """The 64-bit number of a transaction, which SQLAlchemy has no type for."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Its name in Postgres."""
        return "XID8"


log = Table(
    "log",
    metadata,
    Column("only", Boolean, primary_key=True, server_default="true"),
    # Another one after a backup was restored: what clients remember of the log before may then be of another history.
    Column("incarnation", UUID(as_uuid=True), nullable=False, server_default=text("gen_random_uuid()")),
    # Keys the ids of new rooms and the fingerprints of commands.
    Column("room_secret", LargeBinary, nullable=False),
    # Added to the numbers of this server's transactions: after a restore into another one, they go on from the old.
    Column("transaction_offset", BigInteger, nullable=False, server_default="0"),
    # Grows when rows of projections were mended: what writers know of rooms may be of before.
    Column("mended", BigInteger, nullable=False, server_default="0"),
    CheckConstraint('"only"', name="log_one_row"),
)

# Columns are in the order of their alignment: no byte of a row is padding.
events = Table(
    "events",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # Messages of the room up to and including this event.
    Column("number", BigInteger, nullable=False),
    # For readers that follow the log in the order of commits: what is below the oldest running transaction is complete.
    Column("transaction_id", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    # Follows from the command; that of a command's first event recognises a resend for ever.
    Column("event_id", UUID(as_uuid=True), nullable=False),
    # Tells a resend from an id used again.
    Column("fingerprint", Integer, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("version", SmallInteger, nullable=False),
    # These two as `domain/encoding/compact.py` packs them.
    Column("actor_id", LargeBinary, nullable=False),
    Column("command_id", LargeBinary, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("data", JSON, nullable=False),
    PrimaryKeyConstraint("room_id", "sequence", name="events_pkey"),
    UniqueConstraint("room_id", "event_id", name="events_event_id_key"),
    # Both grow with the table, so a summary of its blocks finds its tail. No summary can be made of an xid8.
    Index(
        "events_tail_idx",
        text("((transaction_id::text)::bigint)"),
        "recorded_at",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on", "pages_per_range": 32},
    ),
)

# Who follows the log, and how far each is (`log/position.py`). What chat announces to gateways is one of them.
consumers = Table(
    "consumers",
    metadata,
    Column("name", Text, nullable=False),
    # Types of events, as in `message.*`.
    Column("events", Text, nullable=False, server_default="*"),
    Column("position", Text, nullable=False),
    # Names what was handed over last; who finds another name here than they left has lost their place to somebody.
    Column("batch", Text, nullable=False, server_default=""),
    Column("paused", Boolean, nullable=False, server_default="false"),
    # An event that is to be left out.
    Column("skip", UUID(as_uuid=True)),
    # The first event of the batch that fails, why, and how often it was tried.
    Column("failing_event", UUID(as_uuid=True)),
    Column("failure", Text, nullable=False, server_default=""),
    Column("attempts", BigInteger, nullable=False, server_default="0"),
    # When the events were recorded that were handed over last.
    Column("read_up_to", DateTime(timezone=True)),
    PrimaryKeyConstraint("name", name="consumers_pkey"),
)

rooms = Table(
    "rooms",
    metadata,
    Column("room_id", BigInteger, autoincrement=False, primary_key=True),
    Column("head", BigInteger, nullable=False),
    # Messages ever sent: the number of the last.
    Column("messages", BigInteger, nullable=False, server_default="0"),
    # Sequence of the last event that changes what decisions read: while it stands, what writers know of the room is
    # right.
    Column("changed", BigInteger, nullable=False),
    # Sequence of the oldest event that is kept.
    Column("first_sequence", BigInteger, nullable=False, server_default="1"),
    Column("member_count", BigInteger, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("archived", Boolean, nullable=False, server_default="false"),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("topic", Text, nullable=False, server_default=""),
    # Of nothing that a message changes: the new version of a row then stays on its page, and no index is written.
    Index("rooms_public_idx", "created_at", "room_id", postgresql_where=text("kind = 'public'")),
    # Without the key: the planner would think of it for a room by its key while the table is short.
    Index("rooms_created_at_idx", "created_at"),
    # Parts of names are looked up by what they hold; the function is the migration's. Of private rooms apart: who looks
    # for public ones neither waits for them nor learns by waiting how many there are.
    Index(
        "rooms_name_idx",
        text("chat.name_parts(name)"),
        postgresql_using="gin",
        postgresql_where=text("kind <> 'private'"),
    ),
    Index(
        "rooms_private_name_idx",
        text("chat.name_parts(name)"),
        postgresql_using="gin",
        postgresql_where=text("kind <> 'public'"),
    ),
    postgresql_with={"fillfactor": 50},
)

members = Table(
    "members",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),  # invited | joined
    Column("role", Text, nullable=False),  # owner | member
    Column("sequence", BigInteger, nullable=False),  # of the event that led to this state
    Column("invited_by", Text),  # whose invitation waits for an answer
    PrimaryKeyConstraint("room_id", "user_id", name="members_pkey"),
    Index("members_user_id_idx", "user_id", "room_id", postgresql_include=["state", "sequence"]),
    # Who has been there the longest takes over from an owner who leaves.
    Index("members_eldest_idx", "room_id", "sequence", postgresql_where=text("state = 'joined'")),
    Index("members_invited_idx", "room_id", "invited_by", postgresql_where=text("state = 'invited'")),
)

# Who declined an invitation and when, the last time.
declined = Table(
    "declined",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("declined_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("room_id", "user_id", name="declined_pkey"),
)

# Accepted commands that appended nothing; those that did are found by their first event.
commands = Table(
    "commands",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("command_key", UUID(as_uuid=True), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("fingerprint", Integer, nullable=False),
    PrimaryKeyConstraint("room_id", "command_key", name="commands_pkey"),
)

# What was asked to be erased. Until it is completed, all who read are shown nothing of it (`log/erasure/erasures.py`).
erasures = Table(
    "erasures",
    metadata,
    Column("id", UUID(as_uuid=True), nullable=False),
    Column("scope", Text, nullable=False),  # user | message | room | age
    Column("user_id", Text),  # whose all it is
    Column("actor_id", LargeBinary),  # the same as events have it
    Column("room_id", BigInteger),  # of a message, or as a whole
    Column("event_id", UUID(as_uuid=True)),  # of a message
    Column("before", DateTime(timezone=True)),  # messages older than this
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    # Whether the ledger outside of the database has it; before that nothing is executed.
    Column("noted", Boolean, nullable=False, server_default="false"),
    # Whether it is from the ledger, which knew of it when this database did not: it was restored from before.
    Column("repeated", Boolean, nullable=False, server_default="false"),
    Column("started_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    # What is before this place is done.
    Column("at_room", BigInteger),
    Column("at_sequence", BigInteger, nullable=False, server_default="0"),
    Column("events", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("scope IN ('user', 'message', 'room', 'age')", name="erasures_scope_check"),
    PrimaryKeyConstraint("id", name="erasures_pkey"),
    Index("erasures_open_idx", "requested_at", postgresql_where=text("completed_at IS NULL")),
    Index("erasures_user_idx", "user_id", "requested_at"),
)
