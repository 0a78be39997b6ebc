"""What chat tells gateways of what was committed: who moves with an event, hints to users, and the beacon of heads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import asyncpg
import msgspec
import pytest

from parley.chat.delivery import beacon
from parley.chat.delivery.beacon import Beacon
from parley.chat.delivery.publisher import Publisher
from parley.chat.domain.batch import Plan
from parley.chat.domain.events import User
from parley.chat.domain.identifiers import public_room_id
from parley.chat.domain.membership import MemberChanged, MemberInvited, MemberJoined, MemberLeft
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.recorded import Recorded
from parley.chat.domain.room import Event
from parley.chat.domain.rooms import RoomArchived, RoomCreated
from parley.chat.log.database import Pool, reachable
from parley.chat.queries import tail
from parley.common.errors import Code
from parley.framework import Delivery, MembershipChange, Reject, RoomEvent, RoomHead, RoomPublisher
from tests.integration.test_bus import until

BEN = User("u_ben", "ben")
ROOM = public_room_id(1)


def recorded(event: Event, sequence: int = 1) -> Recorded:
    """An event of the room, by Ann."""
    return Recorded(
        1, sequence, 0, UUID(int=sequence), event.TYPE, "u_ann", "ann", "c", 0, msgspec.json.encode(event),
        datetime.now(UTC),
    )  # fmt: skip


class RecordingRooms:
    """Keeps what is published, and what heads are announced."""

    def __init__(self) -> None:
        self.published: list[tuple[str, list[RoomEvent], list[MembershipChange]]] = []
        self.connected = True

    async def publish_all(self, deliveries: Sequence[tuple[str, Delivery]]) -> None:
        self.published += [(room, delivery.items, delivery.membership_changes) for room, delivery in deliveries]

    async def announce_heads(self, heads: list[RoomHead]) -> bool:
        return self.connected


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
def test_an_event_names_the_user_who_joins_or_leaves_with_it(event: Event, moves: tuple[str, str]):
    item = recorded(event).item()
    assert (item.joins, item.leaves) == moves


async def test_users_are_told_where_to_look_before_the_rooms_events_are_published():
    rooms = RecordingRooms()
    plan = Plan(appended=[recorded(MemberJoined(BEN), 4), recorded(MemberLeft(BEN), 5)])
    await Publisher(cast("RoomPublisher", rooms)).publish(plan)
    assert [(room, [item.sequence for item in items], moves) for room, items, moves in rooms.published] == [
        ("user:u_ben", [], [MembershipChange(ROOM, True, 4), MembershipChange(ROOM, False, 5)]),
        (ROOM, [4, 5], []),
    ]


async def test_what_a_resent_command_led_to_is_published_again_once():
    rooms, sent = RecordingRooms(), recorded(MemberJoined(BEN), 7)
    plan = Plan(repeated={(1, 7): sent}, appended=[recorded(MessageSent("new"), 9)])
    await Publisher(cast("RoomPublisher", rooms)).publish(plan)
    assert [[item.sequence for item in items] for _, items, _ in rooms.published] == [[7, 9]], "no hint at an old join"


class Tails:
    """Stands for the database: keeps from where it was asked for the end of the log."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.outcomes: list[Exception | str] = []

    async def since(self, _pool: Any, position: int, seconds: float, limit: int) -> tail.Tail:
        assert (seconds, limit) == (600, 50_000)
        self.asked.append(position)
        outcome = self.outcomes.pop(0) if self.outcomes else "log"
        if isinstance(outcome, Exception):
            raise outcome
        return tail.Tail([RoomHead("r1", 1)], 100 + len(self.asked), outcome)


@pytest.fixture
def tails(monkeypatch: pytest.MonkeyPatch) -> Tails:
    asked = Tails()
    monkeypatch.setattr(beacon, "BEACON_INTERVAL", 0)
    monkeypatch.setattr(beacon.tail, "since", asked.since)
    return asked


async def test_a_beacon_goes_on_from_where_it_has_told_and_begins_anew_in_another_log(tails: Tails):
    rooms = RecordingRooms()
    telling = Beacon(cast("RoomPublisher", rooms), cast("Pool", None))
    await telling.tell()
    rooms.connected = False
    await telling.tell()
    rooms.connected = True
    await telling.tell()
    tails.outcomes = ["restored", "restored"]
    await telling.tell()
    await telling.tell()
    assert tails.asked == [0, 101, 101, 103, 0]
    assert telling.incarnation == "restored"


@pytest.mark.parametrize(
    "failure",
    [OSError("away"), asyncpg.InternalClientError("cannot switch to state 15"), asyncpg.QueryCanceledError(),
     KeyError(), Reject(Code.UNAVAILABLE)],
    ids=repr,
)  # fmt: skip
async def test_a_beacon_that_cannot_be_told_now_is_told_later_whatever_the_cause(tails: Tails, failure: Exception):
    tails.outcomes = [failure]
    running = asyncio.create_task(Beacon(cast("RoomPublisher", RecordingRooms()), cast("Pool", None)).run())
    await until(lambda: len(tails.asked) > 2 or running.done())
    assert not running.done()
    assert tails.asked[:3] == [0, 0, 102]
    running.cancel()


def test_a_connection_that_breaks_in_the_middle_of_an_answer_is_to_be_tried_again():
    with pytest.raises(Reject) as caught, reachable():
        raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    assert (caught.value.code, caught.value.retryable) == (Code.UNAVAILABLE, True)
