"""What chat tells gateways of what was committed: who moves with an event, hints to users, and announcements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import cast
from uuid import UUID

import asyncpg
import msgspec
import pytest

from parley.chat.delivery import announcements
from parley.chat.delivery.announcements import announce
from parley.chat.delivery.publisher import Publisher
from parley.chat.domain.batch_state import BatchDecision
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import MemberChanged, MemberInvited, MemberJoined, MemberLeft
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.room import ChatEvent
from parley.chat.domain.rooms import RoomArchived, RoomCreated
from parley.chat.log.database import reachable
from parley.common.errors import Code
from parley.framework import Delivery, MembershipChange, Reject, RoomEvent, RoomPublisher

BEN = NamedUser("u_ben", "ben")
ROOM = public_room_id(1)


def recorded(event: ChatEvent, sequence: int = 1) -> Recorded:
    """An event of the room, by Ann."""
    return Recorded(
        1, sequence, 0, UUID(int=sequence), event.TYPE, "u_ann", "ann", "c", 0, msgspec.json.encode(event),
        datetime.now(UTC),
    )  # fmt: skip


class RecordingRooms:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, list[RoomEvent], list[MembershipChange]]] = []

    async def publish_all(self, deliveries: Sequence[tuple[str, Delivery]]) -> None:
        self.published += [(room, delivery.events, delivery.membership_changes) for room, delivery in deliveries]


@pytest.mark.parametrize(
    ("event", "moves"),
    [
        (RoomCreated("general", "public"), ("u_ann", "")),
        (MemberJoined(BEN), ("u_ben", "")),
        (MemberLeft(BEN), ("", "u_ben")),
        (MemberInvited(BEN), ("", "")),
        (MemberChanged(BEN, "owner"), ("", "")),
        (MessageSent("hello"), ("", "")),
        (RoomArchived(), ("", "")),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else value.TYPE,
)
def test_an_event_names_the_user_who_joins_or_leaves_with_it(event: ChatEvent, moves: tuple[str, str]):
    item = recorded(event).room_event()
    assert (item.joined_user, item.left_user) == moves


async def test_users_are_told_where_to_look_before_the_rooms_events_are_published():
    rooms = RecordingRooms()
    decision = BatchDecision(appended=[recorded(MemberJoined(BEN), 4), recorded(MemberLeft(BEN), 5)])
    await Publisher(cast("RoomPublisher", rooms)).publish(decision)
    assert [(room, [item.sequence for item in items], moves) for room, items, moves in rooms.published] == [
        ("user:u_ben", [], [MembershipChange(ROOM, True, 4), MembershipChange(ROOM, False, 5)]),
        (ROOM, [4, 5], []),
    ]


async def test_what_a_resent_command_led_to_is_published_again_once():
    rooms, sent = RecordingRooms(), recorded(MemberJoined(BEN), 7)
    decision = BatchDecision(repeated={(1, 7): sent}, appended=[recorded(MessageSent("new"), 9)])
    await Publisher(cast("RoomPublisher", rooms)).publish(decision)
    assert [[item.sequence for item in items] for _, items, _ in rooms.published] == [[7, 9]], "no hint at an old join"


def test_announcements_are_cut_by_their_size_and_stay_a_chain_that_tells_users_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(announcements, "MAX_BYTES", 1000)
    names = (f"n{number}" for number in count(1))
    told = announce(
        [(room, 7) for room in range(40)], [recorded(MemberJoined(BEN), 4)], "log", "n0", lambda: next(names)
    )
    assert [(one.after, one.id) for one in told.messages] == [("n0", "n1"), ("n1", "n2"), ("n2", "n3")]
    assert told.last == "n3"
    assert told.messages[0].changes == [("u_ben", MembershipChange(ROOM, True, 4))]
    assert [head.room for one in told.messages for head in one.heads] == [public_room_id(room) for room in range(40)]
    assert {one.incarnation for one in told.messages} == {"log"}
    assert announce([], [], "log", "n0", lambda: "") == ([], "n0")


def test_a_connection_that_breaks_in_the_middle_of_an_answer_is_to_be_tried_again():
    with pytest.raises(Reject) as caught, reachable():
        raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    assert (caught.value.code, caught.value.retryable) == (Code.UNAVAILABLE, True)
