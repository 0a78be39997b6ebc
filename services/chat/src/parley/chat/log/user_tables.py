"""The tables of what single users have: how far they have read, what they were told, what they have not sent yet.

None of it is in the log, and nothing in the log follows from it. What belongs to a room has the room first in its keys,
as all of chat's tables do. The other tables have the user first, and are never written together with a room's log. Each
has an index by user, so that a user's rows can be erased. No index has a column that changes often, so that the new
version of a row stays on its page.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

from parley.chat.log.tables import metadata

# How far a user has read a room: the sequence of an event, and how many messages the room has up to it.
reads = Table(
    "reads",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("read_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("room_id", "user_id", name="reads_pkey"),
    Index("reads_user_idx", "user_id"),
    postgresql_with={"fillfactor": 70},
)

# A message that mentions a user, or with an empty `user_id` one that mentions everybody in the room.
mentions = Table(
    "mentions",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("author_id", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("room_id", "user_id", "sequence", name="mentions_pkey"),
    Index("mentions_user_idx", "user_id"),
    Index("mentions_author_idx", "author_id"),
    Index("mentions_at_idx", "at"),
)

# What of a room a user wants to be notified of, where it is not the default.
levels = Table(
    "levels",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("level", Text, nullable=False),  # all | mentions | none
    PrimaryKeyConstraint("room_id", "user_id", name="levels_pkey"),
    Index("levels_user_idx", "user_id"),
)

# A user's settings, where they are not the defaults.
preferences = Table(
    "preferences",
    metadata,
    Column("user_id", Text, nullable=False),
    # Whether others are not told how far the user has read.
    Column("private_receipts", Boolean, nullable=False, server_default="false"),
    # Causes of which the user is not notified anywhere.
    Column("silenced", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    PrimaryKeyConstraint("user_id", name="preferences_pkey"),
)
