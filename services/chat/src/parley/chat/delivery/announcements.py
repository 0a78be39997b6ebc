"""How a page of the log is announced to gateways, pure: as a chain of messages of bounded size.

Each message names itself and the one before. A gateway that missed one notices it by the next, and then compares all of
its rooms with the log. The next process goes on from the last name that was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from parley.chat.delivery.hints import NAMESPACE, change_of, notice_of
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.common.nats.chunks import split_by_size
from parley.common.wire.rooms import Announcement, MembershipChange, RoomEvent, RoomHead

MAX_BYTES = 384 * 1024
"""Messages are split here, to stay below NATS' limit of 1 MiB."""
# Bytes of an entry besides its texts: a room's id, sequences, and msgpack's own.
OVERHEAD = 64

_Told = RoomHead | tuple[str, MembershipChange] | tuple[str, RoomEvent]


class AnnouncementChain(NamedTuple):
    """Announcements to be published in this order, and the name of the last one."""

    messages: list[Announcement]
    last: str


def announce(
    heads: Sequence[tuple[int, int]], named: Iterable[Recorded], incarnation: str, after: str, name: Callable[[], str]
) -> AnnouncementChain:
    """Say up to which sequence rooms have events, and tell single users what concerns them.

    `heads` are rooms with their last sequence, `named` the events that concern single users, `after` the name of the
    announcement before. `name` makes a new name.
    """
    messages: list[Announcement] = []
    # Users come first, so that a gateway knows of a join before it learns the room's head.
    for chunk in split_by_size([*_for_users(named), *_heads(heads)], MAX_BYTES, _weight):
        told = [entry for entry in chunk if not isinstance(entry, RoomHead)]
        message = Announcement(
            NAMESPACE, incarnation, after, name(), [entry for entry in chunk if isinstance(entry, RoomHead)],
            [(user, change) for user, change in told if isinstance(change, MembershipChange)],
            [(user, notice) for user, notice in told if isinstance(notice, RoomEvent)],
        )  # fmt: skip
        messages.append(message)
        after = message.id
    return AnnouncementChain(messages, after)


def _for_users(named: Iterable[Recorded]) -> Iterator[_Told]:
    for recorded in named:
        room_event = recorded.room_event()
        for told in (change_of(recorded, room_event), notice_of(recorded, room_event)):
            if told is not None:
                yield told


def _heads(heads: Iterable[tuple[int, int]]) -> Iterator[_Told]:
    return (RoomHead(public_room_id(room_id), head) for room_id, head in heads)


def _weight(entry: _Told) -> int:
    if isinstance(entry, RoomHead):
        return OVERHEAD
    user, told = entry
    # A character of a user id has four bytes at most in UTF-8.
    return 4 * len(user) + OVERHEAD + (len(told.payload) if isinstance(told, RoomEvent) else OVERHEAD)
