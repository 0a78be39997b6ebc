"""The events that services publish to rooms, and the questions of gateways about rooms and their log."""

from __future__ import annotations

import msgspec

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity

MAX_BEHIND = 10_000
"""A cursor that is further behind the head than this is answered with `reset`."""


class RoomEvent(Wire, frozen=True):
    """One event for a room's members.

    - `payload`: its single argument as JSON, with placeholders for the attachments;
    - `sequence`: 0 for an event that is not logged;
    - `volatile`: it is skipped for clients that read too slowly;
    - `joined_user`: the user who becomes a member with this event, and receives it as the first; only in logged events;
    - `left_user`: the user who is no member after this event, and receives it as the last; only in logged events;
    - `notice`: identifies an unlogged event that may be published again, which a gateway sends to a user once;
    - `may_wait`: where many come at once, a gateway may gather them for a moment, and deliver them together in order.
    """

    event: str
    payload: bytes
    sequence: int = 0
    except_sid: str = ""
    volatile: bool = False
    attachments: tuple[bytes, ...] = ()
    joined_user: str = ""
    left_user: str = ""
    notice: str = ""
    may_wait: bool = False


class RoomHead(Wire, frozen=True):
    """A room and the sequence of its last event."""

    room: str
    head: int


class MembershipChange(Wire, frozen=True):
    """A user joined a room or left it with the event of this `sequence`: the first, or the last, that they receive.

    It is a hint, published on the user's own room, to look at the room from there. The room's own events decide.
    """

    room: str
    joined: bool
    sequence: int


class Delivery(Wire, frozen=True):
    """The events that a service publishes to a room, in order; on a user's own room also membership changes."""

    events: list[RoomEvent]
    membership_changes: list[MembershipChange] = []


class Deliveries(Wire, frozen=True):
    """The deliveries that a service publishes to several rooms of a namespace at once, in order, to every gateway."""

    rooms: list[tuple[str, Delivery]]


class UndecodedDeliveries(Wire, frozen=True):
    """`Deliveries` as a gateway decodes them: it decodes only the deliveries to rooms with a member there."""

    rooms: list[tuple[str, msgspec.Raw]]


class Membership(Wire, frozen=True):
    """A room that a user is a member of, its head, and the sequence of the event with which the user joined."""

    room: str
    head: int
    joined: int


class GetMemberships(Wire, frozen=True):
    """Ask the service for the rooms that each of these users is a member of."""

    users: list[Identity]


class Memberships(Wire, frozen=True):
    """The rooms of each user in the request, in its order.

    None stands for a user who could not be looked up. A shorter list than asked for means: ask again for the rest.
    """

    rooms: list[list[Membership] | None]


class UnloggedEvent(Wire, frozen=True):
    """An event that is not logged, buffered so that a recovered client can still get it. `args` is a JSON array."""

    event: str
    args: bytes
    attachments: tuple[bytes, ...] = ()


class Replay(Wire, frozen=True):
    """Ask for at most `limit` events of a room after a sequence, oldest first."""

    room: str
    after: int
    limit: int


class Replayed(Wire, frozen=True):
    """Consecutive events from the sequence in the request on, and the room's head when they were read."""

    events: list[RoomEvent]
    head: int


class GetRoomHeads(Wire, frozen=True):
    """Ask for the heads of these rooms."""

    rooms: list[str]


class RoomHeads(Wire, frozen=True):
    """The heads of rooms in one namespace."""

    namespace: str
    heads: list[RoomHead]


class Announcement(Wire, frozen=True):
    """The heads of the rooms that have changed since the announcement `after`, with membership changes and notices.

    Announcements are a chain: each has an `id` and names the one before with `after`. A gateway that has not received
    the one before has missed something. Without an `id` there was no change since `after`. Each of `changes` and
    `notices` stands beside the user that it concerns. `incarnation` is that of the log that the sequences belong to.
    """

    namespace: str
    incarnation: str
    after: str
    id: str = ""
    heads: list[RoomHead] = []
    changes: list[tuple[str, MembershipChange]] = []
    notices: list[tuple[str, RoomEvent]] = []
