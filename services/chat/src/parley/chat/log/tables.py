"""The tables of schema `chat`. Alembic owns the schema (`migrations/`); this module describes it and names its columns.

`events` is the log and the only truth. `rooms`, `members`, `declined`, `restrictions`, `participants`, `invites`,
`messages`, `reactions`, `replies` and `thread_followers` are projections of it, which can be rebuilt. All tables except
`log`, `consumers`, `erasures`, `blocks`, `uploads`, `search_parts` and `previews` have the room first in their keys and
refer to no other table, so they can be partitioned, or spread over servers, by room alone.
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
from sqlalchemy.dialects.postgresql import ARRAY, JSON, UUID
from sqlalchemy.types import UserDefinedType

metadata = MetaData(schema="chat")


class Xid8(UserDefinedType[int]):
    """The 64-bit number of a transaction. SQLAlchemy has no type for it."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name in Postgres."""
        return "XID8"


log = Table(
    "log",
    metadata,
    Column("only", Boolean, primary_key=True, server_default="true"),
    # A restore from a backup changes it: sequences that clients remember may then belong to another history.
    Column("incarnation", UUID(as_uuid=True), nullable=False, server_default=text("gen_random_uuid()")),
    # The key with which the ids of new rooms and the fingerprints of commands are derived.
    Column("room_secret", LargeBinary, nullable=False),
    # Added to the numbers of this server's transactions. A restore into another server sets it, so that they go on from
    # the old ones.
    Column("transaction_offset", BigInteger, nullable=False, server_default="0"),
    # Counts the times that rows of projections were corrected. Writers then read again what they know of rooms.
    Column("mended", BigInteger, nullable=False, server_default="0"),
    CheckConstraint('"only"', name="log_one_row"),
)

# Columns are ordered by their alignment, so that no byte of a row is padding.
events = Table(
    "events",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # How many messages the room has up to and including this event.
    Column("number", BigInteger, nullable=False),
    # For readers that follow the log in the order of its commits (`tail`).
    Column("transaction_id", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    # Derived from the command. The id of a command's first event recognises a resend for ever.
    Column("event_id", UUID(as_uuid=True), nullable=False),
    # Tells a resent command from another one with the same id.
    Column("fingerprint", Integer, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("version", SmallInteger, nullable=False),
    # Both ids as `domain/encoding/compact.py` packs them.
    Column("actor_id", LargeBinary, nullable=False),
    Column("command_id", LargeBinary, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("data", JSON, nullable=False),
    PrimaryKeyConstraint("room_id", "sequence", name="events_pkey"),
    UniqueConstraint("room_id", "event_id", name="events_event_id_key"),
    Index(
        # Both columns grow with the table, so a summary of its blocks (BRIN) finds the end. Postgres has no BRIN
        # operator class for xid8, hence the casts.
        "events_tail_idx",
        text("((transaction_id::text)::bigint)"),
        "recorded_at",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on", "pages_per_range": 32},
    ),
)

# Who follows the log, and how far each of them is (`log/position.py`). Chat's own announcer has a row here too.
consumers = Table(
    "consumers",
    metadata,
    Column("name", Text, nullable=False),
    # Types of events, as in `message.*`.
    Column("events", Text, nullable=False, server_default="*"),
    Column("position", Text, nullable=False),
    # Names the last batch that was done. A process that finds another name than its own has been superseded.
    Column("batch", Text, nullable=False, server_default=""),
    Column("paused", Boolean, nullable=False, server_default="false"),
    # An event that an operator wants to be left out.
    Column("skip", UUID(as_uuid=True)),
    # The first event of the batch that fails, why it fails, and how often it was tried.
    Column("failing_event", UUID(as_uuid=True)),
    Column("failure", Text, nullable=False, server_default=""),
    Column("attempts", BigInteger, nullable=False, server_default="0"),
    # When the last event that was handed over was recorded.
    Column("read_up_to", DateTime(timezone=True)),
    PrimaryKeyConstraint("name", name="consumers_pkey"),
)

rooms = Table(
    "rooms",
    metadata,
    Column("room_id", BigInteger, autoincrement=False, primary_key=True),
    Column("head", BigInteger, nullable=False),
    # How many messages were ever sent, so the number of the last one.
    Column("messages", BigInteger, nullable=False, server_default="0"),
    # Sequence of the last event that changes what decisions read. While it is the same, what writers know of the room
    # is right.
    Column("changed", BigInteger, nullable=False),
    # Sequence of the oldest event that is kept.
    Column("first_sequence", BigInteger, nullable=False, server_default="1"),
    Column("member_count", BigInteger, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("archived", Boolean, nullable=False, server_default="false"),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # public | private | direct
    Column("created_by", Text, nullable=False),
    Column("topic", Text, nullable=False, server_default=""),
    # Sequences of the erased events that still hold the present name and topic, because others are in the room.
    Column("name_kept_in", BigInteger),
    Column("topic_kept_in", BigInteger),
    # Seconds that a member waits between two messages.
    Column("slow_seconds", Integer, nullable=False, server_default="0"),
    # Whether an administrator archived it.
    Column("closed", Boolean, nullable=False, server_default="false"),
    # What roles may do, where it is not what a room begins with (`domain/permissions.py`).
    Column("rules", Text, nullable=False, server_default=""),
    # The application's own data as JSON, empty for none, and as above the erased event that still holds it.
    Column("custom", Text, nullable=False, server_default=""),
    Column("custom_kept_in", BigInteger),
    # No index has a column that a message changes. So the new version of a row stays on its page (a HOT update), and no
    # index is written for a message.
    Index("rooms_public_idx", "created_at", "room_id", postgresql_where=text("kind = 'public'")),
    # Without the key: the planner would take it for looking up one room while the table is short.
    Index("rooms_created_at_idx", "created_at"),
    Index(
        # Looks up names by parts of them; the function comes with a migration. Private rooms have an index of their
        # own, so that a search for public ones neither waits for them nor shows by its duration how many there are.
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
    # Half of each page stays free for the new versions that messages make of rows.
    postgresql_with={"fillfactor": 50},
)

members = Table(
    "members",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),  # invited | joined
    Column("role", Text, nullable=False),  # owner | moderator | member
    Column("sequence", BigInteger, nullable=False),  # of the event that led to this state
    Column("invited_by", Text),  # whose invitation waits for an answer
    PrimaryKeyConstraint("room_id", "user_id", name="members_pkey"),
    Index("members_user_id_idx", "user_id", "room_id", postgresql_include=["state", "sequence"]),
    # For finding the member who becomes the owner when the owner leaves.
    Index("members_eldest_idx", "room_id", "sequence", postgresql_where=text("state = 'joined'")),
    Index("members_invited_idx", "room_id", "invited_by", postgresql_where=text("state = 'invited'")),
)

# Who declined an invitation, and when they did so last.
declined = Table(
    "declined",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("declined_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("room_id", "user_id", name="declined_pkey"),
)

# What holds for a user in a room, member or not. What has no end ends in the year 9999.
restrictions = Table(
    "restrictions",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("banned_until", DateTime(timezone=True)),
    Column("muted_until", DateTime(timezone=True)),
    # Permissions, with a space between two.
    Column("allow", Text, nullable=False, server_default=""),
    Column("deny", Text, nullable=False, server_default=""),
    Column("sequence", BigInteger, nullable=False),  # of the last event about any of it
    PrimaryKeyConstraint("room_id", "user_id", name="restrictions_pkey"),
)

# Whom a direct room is between, whether they are members or not.
participants = Table(
    "participants",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    PrimaryKeyConstraint("room_id", "user_id", name="participants_pkey"),
)

# The links into a room that may still be good; `invite` is the sequence of the event that made one.
invites = Table(
    "invites",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("invite", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("uses_left", Integer),
    PrimaryKeyConstraint("room_id", "invite", name="invites_pkey"),
)

# Which users have blocked which. It is no room's, and each user's own list.
blocks = Table(
    "blocks",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("blocked_id", Text, nullable=False),
    Column("blocked_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("user_id", "blocked_id", name="blocks_pkey"),
    Index("blocks_blocked_id_idx", "blocked_id"),
)

# What users reported. `copy` is what was reported, with some messages around it, by the `authors`.
reports = Table(
    "reports",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("report", UUID(as_uuid=True), nullable=False),
    Column("message", BigInteger, nullable=False),  # its sequence
    Column("message_at", DateTime(timezone=True), nullable=False),
    Column("author", Text, nullable=False),
    Column("authors", ARRAY(Text), nullable=False),
    Column("reporter", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("copy", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("state", Text, nullable=False, server_default="open"),  # open | resolved
    Column("resolved_by", Text),
    Column("resolved_at", DateTime(timezone=True)),
    Column("resolution", Text),
    Column("note", Text),
    CheckConstraint("state IN ('open', 'resolved')", name="reports_state_check"),
    PrimaryKeyConstraint("room_id", "report", name="reports_pkey"),
    Index("reports_queue_idx", "state", "created_at", "report"),
    Index("reports_room_idx", "room_id", "state", "created_at", "report"),
    Index("reports_message_idx", "room_id", "message"),
    Index("reports_reporter_idx", "reporter", postgresql_where=text("state = 'open'")),
)

# Accepted commands that appended nothing. All others are recognised by their first event.
commands = Table(
    "commands",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("command_key", UUID(as_uuid=True), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("fingerprint", Integer, nullable=False),
    PrimaryKeyConstraint("room_id", "command_key", name="commands_pkey"),
)

# What became of messages: a row for each that was edited, deleted, reacted to or pinned, or that has a thread.
messages = Table(
    "messages",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),  # of its `message.sent`
    # Sequences of the events by which it is edited, deleted and pinned. The texts are there and nowhere else.
    Column("edited_in", BigInteger),
    Column("deleted_in", BigInteger),
    Column("pinned_in", BigInteger),
    # How many replies its thread ever had, and the last of them.
    Column("replies", BigInteger, nullable=False, server_default="0"),
    Column("last_reply", BigInteger),
    Column("last_reply_at", DateTime(timezone=True)),
    Column("edited_at", DateTime(timezone=True)),
    Column("version", Integer, nullable=False, server_default="1"),
    # How many reactions there are, by emoji.
    Column("reactions", JSON, nullable=False),
    PrimaryKeyConstraint("room_id", "sequence", name="messages_pkey"),
    Index("messages_pinned_idx", "room_id", "pinned_in", postgresql_where=text("pinned_in IS NOT NULL")),
    # A message that many react to gets a new version of its row with each batch, which stays on the page.
    postgresql_with={"fillfactor": 70},
)

reactions = Table(
    "reactions",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("message", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("emoji", Text, nullable=False),
    Column("added_in", BigInteger, nullable=False),  # sequence of its event
    Column("name", Text, nullable=False),  # of the user, when they reacted
    PrimaryKeyConstraint("room_id", "message", "user_id", "emoji", name="reactions_pkey"),
    # For the first who reacted so.
    Index("reactions_first_idx", "room_id", "message", "emoji", "added_in"),
)

# The replies of each thread, in order.
replies = Table(
    "replies",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("thread", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    PrimaryKeyConstraint("room_id", "thread", "sequence", name="replies_pkey"),
)

# Who follows which thread. Who stopped keeps a row that says so, and is not made to follow by others.
thread_followers = Table(
    "thread_followers",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("thread", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("since", BigInteger, nullable=False),  # sequence of the event by which it is so
    Column("following", Boolean, nullable=False),
    PrimaryKeyConstraint("room_id", "thread", "user_id", name="thread_followers_pkey"),
    Index("thread_followers_user_idx", "user_id", "room_id", "thread", postgresql_where=text("following")),
)

# What was requested to be erased. Until it is completed, statements that read hide it (`log/erasure/erasures.py`).
erasures = Table(
    "erasures",
    metadata,
    Column("id", UUID(as_uuid=True), nullable=False),
    Column("scope", Text, nullable=False),  # user | message | room | age
    Column("user_id", Text),  # whose all it is
    Column("actor_id", LargeBinary),  # the same as events have it
    Column("room_id", BigInteger),  # of a message, or as a whole
    Column("event_id", UUID(as_uuid=True)),  # of a message
    Column("sequence", BigInteger),  # of the same message, by which its edits name it
    Column("before", DateTime(timezone=True)),  # messages older than this
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    # Whether the ledger outside of the database has it. Before that nothing is executed.
    Column("noted", Boolean, nullable=False, server_default="false"),
    # Whether the ledger had it and this database did not, because it was restored from an older backup.
    Column("repeated", Boolean, nullable=False, server_default="false"),
    Column("started_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    # Everything before this place is done.
    Column("at_room", BigInteger),
    Column("at_sequence", BigInteger, nullable=False, server_default="0"),
    Column("events", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("scope IN ('user', 'message', 'room', 'age')", name="erasures_scope_check"),
    PrimaryKeyConstraint("id", name="erasures_pkey"),
    Index("erasures_open_idx", "requested_at", postgresql_where=text("completed_at IS NULL")),
    Index("erasures_user_idx", "user_id", "requested_at"),
)

# Files that users uploaded, from the announcement on: their bytes are elsewhere (`attachments/`). Only what is attached
# belongs to a room.
uploads = Table(
    "uploads",
    metadata,
    Column("upload_id", UUID(as_uuid=True), nullable=False),
    Column("user_id", Text, nullable=False),
    # pending: bytes may come; checking: they are looked at; ready: a message may attach it; attached; kept: its message
    # was deleted, and a report names it; gone: to be removed.
    Column("state", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    # When it is thrown away unless it is attached.
    Column("expires_at", DateTime(timezone=True)),
    # Since when its present state is a piece of work of some process.
    Column("claimed_at", DateTime(timezone=True)),
    Column("width", Integer),
    Column("height", Integer),
    Column("thumbnail", BigInteger, nullable=False, server_default="0"),  # bytes of it; 0: there is none
    # The message that it belongs to.
    Column("room_id", BigInteger),
    Column("sequence", BigInteger),
    CheckConstraint(
        "state IN ('pending', 'checking', 'ready', 'attached', 'kept', 'gone')", name="uploads_state_check"
    ),
    PrimaryKeyConstraint("upload_id", name="uploads_pkey"),
    Index("uploads_user_idx", "user_id", "upload_id", postgresql_include=["size", "state"]),
    Index("uploads_message_idx", "room_id", "sequence", postgresql_where=text("room_id IS NOT NULL")),
    Index("uploads_expires_idx", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    Index("uploads_kept_idx", "upload_id", postgresql_where=text("state = 'kept'")),
)

# By which terms each message is found (`search/`). It is no projection: a consumer of the log keeps it.
search = Table(
    "search",
    metadata,
    Column("room_id", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # The event that has the message's present text: its own, or that of its last edit.
    Column("text_sequence", BigInteger, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    # The version of the function that made the terms.
    Column("version", SmallInteger, nullable=False),
    # Numbers of terms, each combined with the scope that the message is looked up in and with the part of its index.
    Column("terms", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("room_id", "sequence", name="search_pkey"),
    # Without a list of what is to be added later: each of the many small look-ups of a search would read all of it.
    Index("search_terms_idx", "terms", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
    Index("search_edited_idx", "room_id", "text_sequence", postgresql_where=text("text_sequence <> sequence")),
    # For the newest message of a room before some day.
    Index("search_room_idx", "room_id", "recorded_at"),
)

# The parts of each scope's index by time, so that the newest messages are found first and a common word costs no more
# than a part. The scope is 0 for all public rooms, or a private room.
search_parts = Table(
    "search_parts",
    metadata,
    Column("scope", BigInteger, nullable=False),
    Column("starts", DateTime(timezone=True), nullable=False),
    Column("part", BigInteger, nullable=False),
    # When the newest of its messages was recorded.
    Column("latest", DateTime(timezone=True), nullable=False),
    Column("messages", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope", "starts", name="search_parts_pkey"),
)

# Previews of links that somebody asked for, by a SHA-256 of the link. They expire; `null` is a page that gave none.
previews = Table(
    "previews",
    metadata,
    Column("link", LargeBinary, nullable=False),
    Column("preview", JSON, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("link", name="previews_pkey"),
    Index("previews_expires_idx", "expires_at"),
)
