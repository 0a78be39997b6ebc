"""What chat tells gateways of what was committed: who moves with an event, hints to users, and the beacon of heads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import asyncpg
import msgspec
import pytest

from parley.chat.delivery import beacon
from parley.chat.delivery.publisher import Publisher
from parley.chat.domain.batch import Plan
from parley.chat.domain.events import User
from parley.chat.domain.identifiers import public_room_id
from parley.chat.domain.membership import MemberChanged, MemberInvited, MemberJoined, MemberLeft
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.recorded import Recorded
from parley.chat.domain.room import Event
from parley.chat.domain.rooms import RoomArchived, RoomCreated
from parley.chat.log.database import reachable
from parley.chat.queries.queries import Queries
from parley.common.errors import Code
from parley.framework import MembershipChange, Reject, RoomEvent, RoomHead, RoomPublisher
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

    async def publish(
        self, room: str, items: Sequence[RoomEvent], membership_changes: Sequence[MembershipChange] = ()
    ) -> None:
        self.published.append((room, list(items), list(membership_changes)))

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


class Windows:
    """Stands for the database: keeps for how far back it was asked."""

    def __init__(self, rooms: RecordingRooms) -> None:
        self.asked: list[float] = []
        self.outcomes: list[Exception | None] = []
        self._rooms = rooms

    async def heads_moved_since(self, seconds: float, limit: int) -> list[RoomHead]:
        self.asked.append(seconds)
        if self.outcomes and (outcome := self.outcomes.pop(0)) is not None:
            raise outcome
        return [RoomHead("r1", 1)]


async def test_a_beacon_covers_ten_minutes_at_the_start_and_then_the_time_since_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
):
    now = 1000.0
    pause = asyncio.sleep

    async def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds
        rooms.connected = len(windows.asked) != 4  # while the fifth is due, NATS is away
        await pause(0)

    monkeypatch.setattr(beacon.asyncio, "sleep", pass_time)
    monkeypatch.setattr(beacon.time, "monotonic", lambda: now)
    rooms = RecordingRooms()
    windows = Windows(rooms)
    windows.outcomes = [OSError("away"), None, Reject(Code.UNAVAILABLE)]
    running = asyncio.create_task(beacon.run_beacon(cast("RoomPublisher", rooms), cast("Queries", windows)))
    while len(windows.asked) < 7:
        await pause(0)
    running.cancel()
    assert windows.asked == [600, 600, 11, 12, 11, 12, 11]


@pytest.mark.parametrize(
    "failure",
    [asyncpg.InternalClientError("cannot switch to state 15"), asyncpg.QueryCanceledError(), KeyError()],
    ids=repr,
)
async def test_a_beacon_that_cannot_be_told_now_is_told_later_whatever_the_cause(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
):
    monkeypatch.setattr(beacon, "BEACON_INTERVAL", 0)
    rooms = RecordingRooms()
    windows = Windows(rooms)
    windows.outcomes = [failure]
    running = asyncio.create_task(beacon.run_beacon(cast("RoomPublisher", rooms), cast("Queries", windows)))
    await until(lambda: len(windows.asked) > 2 or running.done())
    assert not running.done()
    running.cancel()


def test_a_connection_that_breaks_in_the_middle_of_an_answer_is_to_be_tried_again():
    with pytest.raises(Reject) as caught, reachable():
        raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    assert (caught.value.code, caught.value.retryable) == (Code.UNAVAILABLE, True)
