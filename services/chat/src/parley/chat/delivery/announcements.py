"""What a page of the log is announced as, pure: a chain of messages of bounded size.

Each message names itself and the one before, so a gateway that missed one knows it by the next, and compares all that
it has. The last that was stored is where the next process goes on.
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
"""Messages are cut here, to stay below the broker's limit."""
OVERHEAD = 64

_Told = RoomHead | tuple[str, MembershipChange] | tuple[str, RoomEvent]


class Chained(NamedTuple):
    """Announcements to be published in order, and the name of the last."""

    messages: list[Announcement]
    last: str


def announce(
    heads: Sequence[tuple[int, int]], named: Iterable[Recorded], log: str, after: str, name: Callable[[], str]
) -> Chained:
    """Say which rooms have events up to where, and to single users what concerns them."""
    messages: list[Announcement] = []
    # Users first, so that a gateway knows of a join before it hears of the room's head.
    for chunk in split_by_size([*_for_users(named), *_heads(heads)], MAX_BYTES, _weight):
        told = [entry for entry in chunk if not isinstance(entry, RoomHead)]
        message = Announcement(
            NAMESPACE, log, after, name(), [entry for entry in chunk if isinstance(entry, RoomHead)],
            [(user, change) for user, change in told if isinstance(change, MembershipChange)],
            [(user, notice) for user, notice in told if isinstance(notice, RoomEvent)],
        )  # fmt: skip
        messages.append(message)
        after = message.id
    return Chained(messages, after)


def _for_users(named: Iterable[Recorded]) -> Iterator[_Told]:
    for recorded in named:
        item = recorded.item()
        for told in (change_of(recorded, item), notice_of(recorded, item)):
            if told is not None:
                yield told


def _heads(heads: Iterable[tuple[int, int]]) -> Iterator[_Told]:
    return (RoomHead(public_room_id(room_id), head) for room_id, head in heads)


def _weight(entry: _Told) -> int:
    if isinstance(entry, RoomHead):
        return OVERHEAD
    user, told = entry
    return 4 * len(user) + OVERHEAD + (len(told.payload) if isinstance(told, RoomEvent) else OVERHEAD)
