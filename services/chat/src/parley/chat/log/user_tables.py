"""The tables of what single users have: how far they have read, what they were told, what they have not sent yet.

None of it is in the log, and nothing in the log follows from it. What belongs to a room has the room first in its keys,
as all of chat's tables do. The other tables have the user first, and are never written together with a room's log. Each
has an index by user, so that a user's rows can be erased. No index has a column that changes often, so that the new
version of a row stays on its page.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from parley.chat.log.tables import metadata

OF_USER = {"of": "user"}
"""Marks these tables: each is erased with its user, and in an export of what is kept of them."""

# How far a user has read a room: the sequence of an event, and how many messages the room has up to it.
reads = Table(
    "reads",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("read_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("marked_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("room_id", "user_id", name="reads_pkey"),
    Index("reads_user_idx", "user_id"),
    postgresql_with={"fillfactor": 70},
    info=OF_USER,
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
    # With all that the key has: whichever of both a plan takes, it reads no mentions of other rooms.
    Index("mentions_unread_idx", "user_id", "room_id", "sequence"),
    Index("mentions_author_idx", "author_id"),
    Index("mentions_at_idx", "at"),
    info=OF_USER,
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
    info=OF_USER,
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
    info=OF_USER,
)

# A user's own room: how many notifications there ever were, which is the sequence of the last one.
inboxes = Table(
    "inboxes",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("head", BigInteger, nullable=False),
    # Up to here notifications were pushed, or did not have to be.
    Column("pushed", BigInteger, nullable=False, server_default="0"),
    # When what is not pushed yet may be; null if nothing has to be.
    Column("push_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("user_id", name="inboxes_pkey"),
    Index("inboxes_push_at_idx", "push_at", postgresql_where=text("push_at IS NOT NULL")),
    postgresql_with={"fillfactor": 70},
    info=OF_USER,
)

# What users were told of. A row names an event and has nothing that was written there.
notifications = Table(
    "notifications",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("event_id", UUID(as_uuid=True), nullable=False),
    Column("cause", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("room_id", BigInteger, nullable=False),
    Column("event_sequence", BigInteger, nullable=False),
    # The sequence of the message that was answered, or reacted to.
    Column("message", BigInteger),
    Column("actor_id", Text, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("read_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("user_id", "sequence", name="notifications_pkey"),
    # An event notifies a user once, however often it is handed over.
    UniqueConstraint("user_id", "event_id", name="notifications_event_id_key"),
    Index("notifications_unread_idx", "user_id", "room_id", "event_sequence", postgresql_where=text("read_at IS NULL")),
    Index("notifications_at_idx", "at"),
    Index("notifications_room_idx", "room_id", "event_sequence"),
    Index("notifications_actor_idx", "actor_id"),
    info=OF_USER,
)

# Where the browsers of users are pushed to. An endpoint belongs to one user.
push_subscriptions = Table(
    "push_subscriptions",
    metadata,
    Column("endpoint_hash", LargeBinary, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("p256dh", LargeBinary, nullable=False),
    Column("auth", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    # The login or the API key that subscribed, and when its token was issued; it ends with them.
    Column("login", Text, nullable=False, server_default=""),
    Column("issued_at", Double),
    PrimaryKeyConstraint("endpoint_hash", name="push_subscriptions_pkey"),
    Index("push_subscriptions_user_idx", "user_id", "created_at"),
    info=OF_USER,
)

# What a user is writing in a room or in a thread of it, which is its `thread`; 0 for the room itself.
drafts = Table(
    "drafts",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("room_id", BigInteger, nullable=False),
    Column("thread", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("reply_to", BigInteger),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("user_id", "room_id", "thread", name="drafts_pkey"),
    Index("drafts_room_idx", "room_id"),
    info=OF_USER,
)

# Messages that are sent when their time comes, each by the command with its `id`. One that could not be sent says why.
scheduled = Table(
    "scheduled",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("room_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    # The command as JSON.
    Column("message", Text, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    # When it is tried, or tried again; null once it has failed.
    Column("try_at", DateTime(timezone=True)),
    # Until then a process is sending it.
    Column("held_until", DateTime(timezone=True)),
    Column("failure", Text, nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    # The login or the API key by which it was scheduled, when its token was issued, and how often its user had been
    # kicked by then: it is sent if that is welcome yet.
    Column("login", Text, nullable=False, server_default=""),
    Column("issued_at", Double),
    Column("kicks", Integer, nullable=False, server_default="-1"),
    Column("scheduled_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("user_id", "id", name="scheduled_pkey"),
    Index("scheduled_try_at_idx", "try_at", postgresql_where=text("try_at IS NOT NULL")),
    Index("scheduled_room_idx", "room_id"),
    info=OF_USER,
)

# How far a user has read a thread that they follow: the sequence of a reply, or of any later event.
thread_reads = Table(
    "thread_reads",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("thread", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("read_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("room_id", "thread", "user_id", name="thread_reads_pkey"),
    Index("thread_reads_user_idx", "user_id"),
    postgresql_with={"fillfactor": 70},
    info=OF_USER,
)

# The slash commands of bots: in all of their rooms, where `room_id` is 0, or in one.
bot_commands = Table(
    "bot_commands",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("room_id", BigInteger, nullable=False),
    # Names are compared by their bytes, which is also how they are paged.
    Column("name", Text(collation="C"), nullable=False),
    # What the command takes, as JSON.
    Column("command", Text, nullable=False),
    PrimaryKeyConstraint("user_id", "room_id", "name", name="bot_commands_pkey"),
    Index("bot_commands_room_idx", "room_id", "name"),
    info=OF_USER,
)

# What users asked of bots in the last day, and what became of it.
invocations = Table(
    "invocations",
    metadata,
    Column("user_id", Text, nullable=False),
    # The one that the client made up, by which a resend is recognised.
    Column("id", Text, nullable=False),
    Column("invocation", UUID(as_uuid=True), nullable=False),
    Column("room_id", BigInteger, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("bot_id", Text, nullable=False),
    Column("bot_name", Text, nullable=False),
    Column("name", Text, nullable=False),
    # What the user said, as JSON.
    Column("options", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="waiting"),  # waiting | answered | expired
    Column("deferred", Boolean, nullable=False, server_default="false"),
    # How the bot answers; null until it has begun to.
    Column("only_you", Boolean),
    # An answer that only the user sees. Any other is in the log, at `sequence`.
    Column("body", Text, nullable=False, server_default=""),
    Column("sequence", BigInteger),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("state IN ('waiting', 'answered', 'expired')", name="invocations_state_check"),
    PrimaryKeyConstraint("user_id", "id", name="invocations_pkey"),
    UniqueConstraint("invocation", name="invocations_invocation_key"),
    Index("invocations_bot_idx", "bot_id"),
    # Of a day's rows, few wait. They are counted with each that is added.
    Index("invocations_asked_idx", "user_id", postgresql_where=text("state = 'waiting'")),
    Index("invocations_waiting_idx", "bot_id", "created_at", postgresql_where=text("state = 'waiting'")),
    Index("invocations_expires_idx", "expires_at", postgresql_where=text("state = 'waiting'")),
    Index("invocations_created_idx", "created_at"),
    Index("invocations_room_idx", "room_id"),
    info=OF_USER,
)
