"""What is known of a run when it is over: what clients meant, were answered and received, and what is in the log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.room_log import Logged, Member

STILL = 4.0


@dataclass(frozen=True)
class Command:
    """What somebody meant to do, written down before it was sent for the first time."""

    id: str
    user: str
    room: str
    event: str
    """`message.send`, `room.join` and so on."""
    began: float
    body: str = ""
    message: int = 0
    """The message that it is about."""
    version: int = 0
    """The version that an edit replaces."""
    emoji: str = ""
    subject: str = ""
    """Whom it is about, of other people."""


@dataclass(frozen=True)
class Answer:
    """What a command was answered in the end: accepted, or refused for good."""

    id: str
    at: float
    ok: bool
    code: str = ""
    sequence: int = 0
    event_id: str = ""
    """Empty if the command changed nothing."""
    attempts: int = 1
    version: int = 0
    """The version that a message is in, of which the sender of an edit did not know."""


@dataclass(frozen=True)
class Mark:
    """That somebody has read a room up to an event, as they say it."""

    user: str
    room: str
    began: float
    asked: int
    answered: float = math.inf
    sequence: int = 0
    """Where their cursor is by then."""
    unread: int = 0


@dataclass(frozen=True)
class Standing:
    """What somebody's list of rooms says of a room in the end."""

    user: str
    room: str
    read: int
    unread: int
    mentions: int


@dataclass(frozen=True)
class View:
    """What a client shows of a room in the end, by what it loaded once and the events since, and a page loaded anew."""

    client: str
    user: str
    room: str
    head: int
    events: Sequence[Mapping[str, Any]]
    loaded_head: int
    loaded: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Receipt:
    """A sequenced event that reached a client."""

    at: float
    room: str
    sequence: int
    event_id: str
    about: tuple[str, int, int] | None = None
    """What a notification is of: a room, an event and a message there. No room, if it came as one that is gone."""


@dataclass(frozen=True)
class Stay:
    """One connection of a client, from its connect to its end."""

    client: str
    user: str
    opened: float
    closed: float | None = None
    """None if it was there when the run was over."""
    cursors: Mapping[str, int] = field(default_factory=dict[str, int])
    """What the client said that it has, of each room."""
    recovered: bool = False
    receipts: Sequence[Receipt] = ()
    resets: Sequence[str] = ()
    """Rooms that it was told to load anew."""
    kicked: float | None = None
    """When it was told that an administrator ends it."""
    asked: float | None = None
    """When its client said CONNECT: a gateway may have had it from then on. None if that is when it was opened."""

    @property
    def began(self) -> float:
        """When it began, as far back as that may be: for gateways it is there while it is being let in."""
        return self.opened if self.asked is None else self.asked


@dataclass(frozen=True)
class Reading:
    """What somebody got who read the history of a private room after they had left it."""

    user: str
    room: str
    began: float
    ended: float
    left: int
    """The sequence with which they had left."""
    last: int = 0
    """The last sequence they could read; 0 if the room did not exist for them."""


@dataclass(frozen=True)
class Ban:
    """A ban, or a kick, which is lifted by its answer."""

    user: str
    began: float
    answered: float
    lifted: float
    """When it began to be lifted: until then it stood."""
    over: float
    """When it was lifted for certain."""
    unanswered: bool = False
    """Whether some gateway could not be told in time."""
    sure: bool = True
    """Whether auth said that it was done."""


@dataclass(frozen=True)
class Room:
    """A room's log, and what is derived from it."""

    log: Sequence[Logged]
    head: int
    member_count: int
    members: Mapping[str, Member]
    private: bool = False
    messages: Sequence[Mapping[str, Any]] = ()
    """As they are now: all `message.sent` that `history` answers its owner."""


@dataclass(frozen=True)
class Texts:
    """What is found in the end of texts that were deleted, and of some that were not."""

    deleted: int = 0
    """How many were looked for."""
    left: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Deleted texts that are still somewhere, and where."""
    present: int = 0
    """Texts that are there, and were searched for."""
    missed: Sequence[str] = ()
    """Those of them that were not found."""


@dataclass(frozen=True)
class Verified:
    """How many rooms were replayed, how many rows are not what the log says, and which is the first."""

    rooms: int
    wrong: int = 0
    first: str = ""


@dataclass(frozen=True)
class History:
    """All of it."""

    commands: Mapping[str, Command] = field(default_factory=dict[str, Command])
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict[str, Sequence[Answer]])
    clients: Mapping[str, str] = field(default_factory=dict[str, str])
    """The users of all clients, be they ever connected or not."""
    stays: Sequence[Stay] = ()
    """In the order in which each client had them."""
    readings: Sequence[Reading] = ()
    bans: Sequence[Ban] = ()
    rooms: Mapping[str, Room] = field(default_factory=dict[str, Room])
    """Those whose log could be read."""
    faults: Sequence[tuple[float, float]] = ()
    """When each fault began and was over, the restart of a process included."""
    began: float = 0.0
    """When the load began."""
    ended: float = 0.0
    """When it was over."""
    last_words: float = math.inf
    """When the last word of each room was said: all was still for `STILL` seconds before, so nothing was on its way."""
    broken: frozenset[str] = frozenset()
    """Users whose ledger is not whole: what is missing in it proves nothing."""
    notified: Mapping[str, Mapping[int, str]] = field(default_factory=dict[str, Mapping[int, str]])
    """By a user's own room, the ids of its notifications by their sequences. Those of deleted messages are gone."""
    marks: Sequence[Mark] = ()
    standings: Sequence[Standing] = ()
    views: Sequence[View] = ()
    texts: Texts | None = None
    verified: Verified | None = None
    """What `parley verify` said of the projections, when all was over."""
