"""What services publish to rooms, and what gateways ask of the log behind them."""

from __future__ import annotations

import msgspec

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity

MAX_BEHIND = 10_000
"""A cursor further behind the head than this is answered with `reset`."""


class RoomEvent(Wire, frozen=True):
    """One event for a room's members: its name and its single argument as JSON bytes.

    In these, placeholders stand for the attachments.
    `sequence` is 0 for what is not in the log (signals, direct notices). A volatile one is not worth keeping for a
    client that reads too slowly. `joins` names the user who becomes a member with this event, which is the first they
    receive; `leaves` the user who is none after it, and receives it as the last. Only logged events name them.
    `notice` names what is not in the room's log and may be said again: a gateway sends it to a user once.
    """

    event: str
    payload: bytes
    sequence: int = 0
    except_sid: str = ""
    volatile: bool = False
    attachments: tuple[bytes, ...] = ()
    joins: str = ""
    leaves: str = ""
    notice: str = ""


class RoomHead(Wire, frozen=True):
    """A room and the sequence of its last event."""

    room: str
    head: int


class MembershipChange(Wire, frozen=True):
    """A user came into a room or left it, with the event of this `sequence`: the first, or the last, they receive.

    It is a hint to look at the room from there. Where the room's own events say who joins and leaves, those decide.
    """

    room: str
    joined: bool
    sequence: int


class Delivery(Wire, frozen=True):
    """What a service publishes on a room subject: events in order, and on a user's own room also their moves."""

    items: list[RoomEvent]
    membership_changes: list[MembershipChange] = []


class Deliveries(Wire, frozen=True):
    """What a service publishes to several rooms of a namespace at once, in order. Every gateway hears it."""

    rooms: list[tuple[str, Delivery]]


class UndecodedDeliveries(Wire, frozen=True):
    """`Deliveries` as a gateway reads them: those to rooms without a member there are not even decoded."""

    rooms: list[tuple[str, msgspec.Raw]]


class Membership(Wire, frozen=True):
    """A room a user is in, its head at this moment, and the sequence of the event by which the user came in."""

    room: str
    head: int
    joined: int


class GetMemberships(Wire, frozen=True):
    """Ask the service behind a namespace which rooms these users are in now."""

    users: list[Identity]


class Memberships(Wire, frozen=True):
    """The rooms of each user asked about, in that order; None for one who could not be looked up, to be asked again."""

    rooms: list[list[Membership] | None]


class UnloggedEvent(Wire, frozen=True):
    """An event that is in no log, kept for who may come back for it. `args` is a JSON array."""

    event: str
    args: bytes
    attachments: tuple[bytes, ...] = ()


class Replay(Wire, frozen=True):
    """Ask for a room's events after a sequence, oldest first, at most `limit` of them."""

    room: str
    after: int
    limit: int


class Replayed(Wire, frozen=True):
    """Logged events, consecutive from the sequence asked for, and the room's head when they were read."""

    items: list[RoomEvent]
    head: int


class GetRoomHeads(Wire, frozen=True):
    """Ask for the heads of these rooms."""

    rooms: list[str]


class RoomHeads(Wire, frozen=True):
    """Heads of rooms in one namespace."""

    namespace: str
    heads: list[RoomHead]


class Announcement(Wire, frozen=True):
    """What a log has beyond the announcement named by `after`: heads of rooms, and what concerns users' own rooms.

    Announcements are a chain: each names itself by `id` and the one before by `after`. Without `id` it only says that
    there was none since. Who hears of one before that they have not heard has missed something. `changes` and `notices`
    are told to the users they stand beside. `log` names the history that all sequences are of.
    """

    namespace: str
    log: str
    after: str
    id: str = ""
    heads: list[RoomHead] = []
    changes: list[tuple[str, MembershipChange]] = []
    notices: list[tuple[str, RoomEvent]] = []
