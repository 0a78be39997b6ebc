"""What the log is projected into for reading and deciding, pure: which rows of which table a room leads to.

There is one projector per table. The writer stores the rows of the rooms that it has decided; a rebuild and a
verification fold a room's events and compare all of its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.erasure import TEXTS, evolve_recorded, texts_dropped_by
from parley.chat.domain.messages.amendments import AMENDING_TYPES, amend_recorded
from parley.chat.domain.messages.known import RoomMessages
from parley.chat.domain.messages.rows import (
    FOLLOWER_COLUMNS,
    MESSAGE_COLUMNS,
    REACTION_COLUMNS,
    REPLY_COLUMNS,
    follower_rows,
    message_rows,
    reaction_rows,
    reply_rows,
)
from parley.chat.domain.room import ChatEvent
from parley.chat.domain.rooms import RoomUpdated
from parley.chat.domain.state import Invite, Member, Restrictions, Room

Row = tuple[Any, ...]
FOLDED = tuple(
    kind.NUMBER for kind in get_args(ChatEvent) if kind.CHANGES_DECISIONS or kind.TYPE in AMENDING_TYPES
)  # fmt: skip
"""Numbers of the types of events that rooms and what became of their messages are folded from. Of the others only the
replies in threads matter; all else moves the head and counts messages."""

# One table of columns for all that reads and writes rooms: the SQL, its casts, and the order of a `Room`'s fields.
ROOM_COLUMNS = {
    "room_id": "bigint", "name": "text", "kind": "text", "created_by": "text", "created_at": "timestamptz",
    "archived": "boolean", "head": "bigint", "messages": "bigint", "changed": "bigint", "member_count": "bigint",
    "topic": "text", "name_kept_in": "bigint", "topic_kept_in": "bigint",
    "slow_seconds": "integer", "closed": "boolean", "rules": "text", "custom": "text", "custom_kept_in": "bigint",
}  # fmt: skip
"""The columns of a room's row that come from a `Room`, in the order of its fields, with their types."""
MEMBER_COLUMNS = {
    "room_id": "bigint", "user_id": "text", "name": "text", "state": "text", "role": "text", "sequence": "bigint",
    "invited_by": "text",
}  # fmt: skip
RESTRICTION_COLUMNS = {
    "room_id": "bigint", "user_id": "text", "banned_until": "timestamptz", "muted_until": "timestamptz",
    "allow": "text", "deny": "text", "sequence": "bigint",
}  # fmt: skip
PARTICIPANT_COLUMNS = {"room_id": "bigint", "user_id": "text"}
INVITE_COLUMNS = {
    "room_id": "bigint", "invite": "bigint", "created_by": "text", "created_at": "timestamptz",
    "expires_at": "timestamptz", "uses_left": "integer",
}  # fmt: skip
DECLINED_COLUMNS = {"room_id": "bigint", "user_id": "text", "declined_at": "timestamptz"}


@dataclass(frozen=True, slots=True)
class TextLeft:
    """An erased event that should not hold any text by now."""

    room_id: int
    sequence: int

    def __str__(self) -> str:
        where = f"chat.events (room_id = {self.room_id}, sequence = {self.sequence})"
        return f"{where} is erased, and holds a text that its room does not have any more"


@dataclass(slots=True)
class FoldedRoom:
    """A room as its events make it, what became of its messages, and the sequence of the oldest event that is kept.

    `outdated` has the sequences of erased events that hold a text which a later event replaced.
    """

    room: Room
    first_sequence: int = 1
    messages: RoomMessages = field(default_factory=RoomMessages)
    outdated: set[int] = field(default_factory=set[int])

    def texts_left(self) -> list[TextLeft]:
        """Return the erased events that hold a text although their room has another one, or nobody is in it."""
        room = self.room
        kept: set[int] = {getattr(room, f"{text}_kept_in") or 0 for text in TEXTS} - {0}
        empty = set[int]() if room.member_count else kept
        return [TextLeft(room.room_id, sequence) for sequence in sorted(self.outdated | empty)]

    def follow(self, head: int, messages: int, first_sequence: int) -> None:
        """Take over what follows from the last and the first event, without which messages need not be folded."""
        self.room.head, self.room.messages, self.first_sequence = head, messages, first_sequence


@dataclass(frozen=True, slots=True)
class Projector:
    """Makes the rows of one table.

    `columns` are its columns with their types; the first `key` of them are the table's key.
    """

    name: str
    columns: dict[str, str]
    key: int
    rows: Callable[[FoldedRoom], list[Row]]


def room_row(room: Room) -> Row:
    """Return a room's row in `chat.rooms`, in the order of `ROOM_COLUMNS`."""
    return tuple(getattr(room, column) for column in ROOM_COLUMNS)


def member_row(room_id: int, member: Member) -> Row:
    """Return a member's row in `chat.members`."""
    return room_id, member.user_id, member.name, member.state, member.role, member.sequence, member.invited_by


def restriction_row(room_id: int, own: Restrictions) -> Row:
    """Return the row in `chat.restrictions` of what holds for one user."""
    return room_id, own.user_id, own.banned_until, own.muted_until, own.allow, own.deny, own.sequence


def invite_row(room_id: int, invite: Invite) -> Row:
    """Return a link's row in `chat.invites`."""
    return room_id, invite.invite, invite.created_by, invite.created_at, invite.expires_at, invite.uses_left


ROOMS = Projector(
    "rooms", ROOM_COLUMNS | {"first_sequence": "bigint"}, 1, lambda of: [(*room_row(of.room), of.first_sequence)]
)
MEMBERS = Projector(
    "members", MEMBER_COLUMNS, 2, lambda of: [member_row(of.room.room_id, one) for one in of.room.members.values()]
)
DECLINED = Projector(
    "declined", DECLINED_COLUMNS, 2, lambda of: [(of.room.room_id, *one) for one in of.room.declined.items()]
)
MESSAGES = Projector("messages", MESSAGE_COLUMNS, 2, lambda folded: message_rows(folded.room.room_id, folded.messages))
REACTIONS = Projector(
    "reactions", REACTION_COLUMNS, 4, lambda folded: reaction_rows(folded.room.room_id, folded.messages)
)
REPLIES = Projector("replies", REPLY_COLUMNS, 3, lambda folded: reply_rows(folded.room.room_id, folded.messages))
FOLLOWERS = Projector(
    "thread_followers", FOLLOWER_COLUMNS, 3, lambda folded: follower_rows(folded.room.room_id, folded.messages)
)
RESTRICTIONS = Projector(
    "restrictions", RESTRICTION_COLUMNS, 2,
    lambda of: [restriction_row(of.room.room_id, one) for one in of.room.restrictions.values()],
)  # fmt: skip
PARTICIPANTS = Projector(
    "participants", PARTICIPANT_COLUMNS, 2, lambda of: [(of.room.room_id, user_id) for user_id in of.room.participants]
)
INVITES = Projector(
    "invites", INVITE_COLUMNS, 2, lambda of: [invite_row(of.room.room_id, one) for one in of.room.invites.values()]
)
PROJECTORS = {
    one.name: one for one in (
        MEMBERS, DECLINED, RESTRICTIONS, PARTICIPANTS, INVITES, MESSAGES, REACTIONS, REPLIES, FOLLOWERS, ROOMS,
    )
}  # fmt: skip
"""The projectors by name. A room's own row comes last, so that it is right only when the others are."""
ALL = tuple(PROJECTORS.values())


def fold(folded: FoldedRoom | None, recorded: Recorded) -> FoldedRoom:
    """Return a room after one more of its events. Raises `ValueError` if a room's first event does not create it."""
    if folded is not None and recorded.type == RoomUpdated.TYPE:
        # Before the room is changed, because afterwards nothing says which event the old text came from.
        going = texts_dropped_by(folded.room, recorded.event())
        folded.outdated.update(at for at in (getattr(folded.room, f"{text}_kept_in") for text in going) if at)
    room = evolve_recorded(folded.room if folded is not None else None, recorded)
    # `evolve_recorded` changes the room in place, so a folded one has it already.
    folded = folded or FoldedRoom(room)
    amend_recorded(folded.messages, recorded)
    return folded


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not as the log says. `stored` is None if the row is missing, `expected` if it should not exist."""

    projector: Projector
    key: Row
    stored: Row | None
    expected: Row | None

    def __str__(self) -> str:
        key = ", ".join(f"{name} = {value!r}" for name, value in zip(self.projector.columns, self.key, strict=False))
        where = f"chat.{self.projector.name} ({key})"
        if self.stored is None:
            return f"{where} is missing"
        if self.expected is None:
            return f"{where} is in no event"
        wrong = [
            f"{name} is {stored!r}, by the log {expected!r}"
            for name, stored, expected in zip(self.projector.columns, self.stored, self.expected, strict=True)
            if stored != expected
        ]
        return f"{where}: {'; '.join(wrong)}"


def compare(projector: Projector, folded: FoldedRoom | None, stored: list[Row]) -> list[Difference]:
    """Return how a table's rows of one room differ from what its events lead to.

    `folded` is None for a room without events.
    """
    expected = {row[: projector.key]: row for row in (projector.rows(folded) if folded else [])}
    there = {row[: projector.key]: row for row in stored}
    return [
        Difference(projector, key, there.get(key), expected.get(key))
        # Sorted, so that two verifications of one log say the same in the same order.
        for key in sorted(there.keys() | expected.keys())
        if there.get(key) != expected.get(key)
    ]
