"""What a connection remembers of rooms, pure: which changes of its membership it heard of, and when.

Joins and leaves are heard of from three sides that overtake each other: the rooms' own events, hints in the user's own
room, and the service's answers about memberships. Sequences put them in order. An answer has no sequence for a room
that it does not name; there the fanout's count of questions does it, which grows with every question, so that "heard of
since" can be told. The last thousand rooms that a connection has left are remembered too.
"""

from __future__ import annotations

from parley.common.wire.rooms import Membership, MembershipChange
from parley.gateway.connections.connection import Connection

MAX_LEFT = 1000
"""Rooms that are remembered of one connection although it is not in them."""


def is_old(connection: Connection, change: MembershipChange) -> bool:
    """Return whether a later change in that room was applied already."""
    return change.sequence < connection.last_change.get(change.room, 0)


def note_change(connection: Connection, room: str, sequence: int, question_count: int) -> None:
    """Note that a join or leave with this event was heard of."""
    connection.last_change[room] = max(sequence, connection.last_change.get(room, 0))
    if connection.heard_at is None:
        connection.heard_at = {}
    connection.heard_at[room] = question_count
    if room not in connection.rooms:
        _keep(connection, room, (connection.left or {}).get(room, 0))


def note_left(connection: Connection, room: str, delivered: int) -> None:
    """Note that the connection is not in a room any more, in which it was sent everything up to an event."""
    connection.rooms.discard(room)
    _keep(connection, room, max(delivered, 0))


def note_entered(connection: Connection, room: str) -> int:
    """Note that the connection is in a room from now on. Returns the last event that it was sent there before, or 0."""
    connection.rooms.add(room)
    return connection.left.pop(room, 0) if connection.left else 0


def heard_since(connection: Connection, room: str, question_count: int) -> bool:
    """Return whether a join or leave in a room was heard of since that many questions, as far as is remembered."""
    if connection.heard_at and room in connection.heard_at:
        return connection.heard_at[room] >= question_count
    return room not in connection.last_change and connection.forgotten_up_to >= question_count


def is_news(connection: Connection, membership: Membership, asked_at: int) -> bool:
    """Return whether a membership in an answer, asked for at this count, says more than was heard of that room."""
    last = connection.last_change.get(membership.room)
    return (last is not None and membership.joined > last) or not heard_since(connection, membership.room, asked_at)


def start_over(connection: Connection, room: str, head: int) -> None:
    """Forget what was heard of beyond `head`, where the room's restored log ends."""
    if room in connection.last_change:
        connection.last_change[room] = min(connection.last_change[room], head)


def _keep(connection: Connection, room: str, delivered: int) -> None:
    if connection.left is None:
        connection.left = {}
    left = connection.left
    left.pop(room, None)  # so that it comes last
    left[room] = delivered
    if len(left) > MAX_LEFT:
        oldest = next(iter(left))
        del left[oldest]
        connection.last_change.pop(oldest, None)
        if connection.heard_at is not None:
            connection.forgotten_up_to = max(connection.forgotten_up_to, connection.heard_at.pop(oldest, -1))
