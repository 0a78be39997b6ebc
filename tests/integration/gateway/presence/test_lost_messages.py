"""What is said of presence may be lost: between gateways, and on the way to a client that reads too slowly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest

from parley.gateway.connections.connection import Connection
from parley.gateway.presence import lookers, shown_rooms
from parley.gateway.presence.reported_room import MAX_REPORTED
from tests.support.bus import fresh
from tests.support.gateway.present import PresentGateway, present_gateway
from tests.support.waiting import until

LEASE = 1.5
Pair = tuple[PresentGateway, PresentGateway]


@pytest.fixture(scope="module")
async def pair(nats_url: str) -> AsyncGenerator[Pair]:
    """Two gateways of one namespace."""
    namespace = f"/{fresh('presence')}"
    async with AsyncExitStack() as stack:
        gateways = [stack.enter_async_context(present_gateway(nats_url, namespace, LEASE)) for _ in range(2)]
        here, there = await asyncio.gather(*gateways)
        yield here, there


@pytest.fixture
def room() -> str:
    return fresh("room")


def states(gateway: PresentGateway, looker: Connection, answer: list[tuple[str, str]]) -> dict[str, str]:
    """What a looker knows by the answer and all that came since."""
    known = dict(answer)
    for change in gateway.sockets.told[looker]:
        if change.get("whole"):
            known = {}
        known |= {user["id"]: user["state"] for user in change["users"]}
    return {user: state for user, state in known.items() if state != "offline"}


async def test_while_nobody_looks_nothing_is_said_and_nothing_kept(pair: Pair, room: str):
    here, there = pair
    said = len(here.way.said), len(there.way.said)
    many = [here.enter(f"u{number}", room) for number in range(500)]
    for connection in many:
        here.choose(connection, "dnd")
    for connection in many:
        here.end(connection)
    assert here.presence._timer is None
    await asyncio.sleep(LEASE)  # what would be said, would be said by now
    assert (len(here.way.said), len(there.way.said)) == said
    assert not here.presence._reports._rooms
    assert not here.presence._reports.choices._choices


async def test_a_change_that_was_lost_is_found_at_the_renewal(pair: Pair, room: str):
    here, there = pair
    ann = here.enter("ann", room)
    answer = await here.look(ann, room)
    assert answer.users == [("ann", "online")]
    there.way.lose_next("gw.")
    there.enter("ben", room)
    await until(lambda: states(here, ann, answer.users) == {"ann": "online", "ben": "online"}, "ben")


async def test_a_look_that_was_lost_is_found_at_the_renewal(pair: Pair, room: str):
    here, there = pair
    ann = here.enter("ann", room)
    there.enter("ben", room)
    here.way.lose_next("presence")
    # The renewal may come before the other gateway is waited for no more.
    answer = await here.look(ann, room)
    await until(lambda: states(here, ann, answer.users) == {"ann": "online", "ben": "online"}, "ben")


async def test_the_end_of_a_look_that_was_lost_is_found_by_what_is_looked_at(
    pair: Pair, room: str, monkeypatch: pytest.MonkeyPatch
):
    here, there = pair
    ann, other = here.enter("ann", room), fresh("other")
    await here.look(ann, room)
    here.enter("ann", other)
    await here.look(next(iter(here.fanout.members(here.namespace, other))), other)
    key = (here.namespace, room)
    await until(lambda: key in there.presence._reports._rooms, "the other gateway tells")
    monkeypatch.setattr(shown_rooms, "KEPT_UNUSED", 0.0)
    here.way.loses = lambda subject: subject == "presence" and key not in here.presence._shown.looked_at
    here.presence.stop_looking(ann, room)
    await until(lambda: key not in here.presence._shown.looked_at, "nobody looks")
    assert key in there.presence._reports._rooms
    here.way.loses = lambda _subject: False
    await until(lambda: key not in there.presence._reports._rooms, "it tells no more")


async def test_a_gateway_that_says_nothing_holds_nobody_up_and_its_users_are_gone_with_its_lease(pair: Pair, room: str):
    here, there = pair
    ann = here.enter("ann", room)
    there.enter("ben", room)
    answer = await here.look(ann, room)
    assert (dict(answer.users), answer.partial) == ({"ann": "online", "ben": "online"}, False)
    there.way.loses = lambda _subject: True
    await until(lambda: states(here, ann, answer.users) == {"ann": "online"}, "ben's gateway is silent")
    second = fresh("second")
    here.fanout.enter(ann, second)
    answer_without = await here.look(ann, second)
    assert (answer_without.users, answer_without.partial) == ([("ann", "online")], True)
    later = here.enter("ann", second)
    assert (await here.look(later, second)).partial, "whoever looks later is told so as well"
    there.way.loses = lambda _subject: False
    await until(lambda: states(here, ann, answer.users) == {"ann": "online", "ben": "online"}, "it is heard again")

    async def complete() -> bool:
        found = await here.look(later, second)
        return found.code == "" and not found.partial

    await until(complete, "it has said whom it has in each room")


async def test_who_has_left_a_room_is_not_told_of_what_follows_in_the_same_moment(pair: Pair, room: str):
    here, _ = pair
    ann, eve = here.enter("ann", room), here.enter("eve", room)
    await here.look(ann, room)
    await here.look(eve, room)
    here.fanout.leave(eve, room)
    here.enter("cem", room)
    here.presence._tick()
    assert [change["count"] for change in here.sockets.told[ann]] == [3]  # eve is shown for a moment more
    assert not here.sockets.told[eve]


async def test_who_reads_too_slowly_gets_everything_once_it_reads_and_nothing_queues_up(pair: Pair, room: str):
    here, there = pair
    ann, eve = here.enter("ann", room), here.enter("eve", room)
    answer = await here.look(ann, room)
    await here.look(eve, room)
    here.sockets.slow.add(ann)
    ben = there.enter("ben", room)
    await until(lambda: "ben" in states(here, eve, answer.users), "ben is there")
    there.choose(ben, "dnd")
    await until(lambda: states(here, eve, answer.users)["ben"] == "dnd", "ben's choice")
    assert not here.sockets.told[ann]
    here.sockets.slow.discard(ann)
    await until(lambda: here.sockets.told[ann], "everything")
    assert here.sockets.told[ann][0]["whole"]
    assert states(here, ann, []) == {"ann": "online", "eve": "online", "ben": "dnd"}
    there.choose(ben, "away")
    await until(lambda: states(here, ann, [])["ben"] == "away", "changes again")
    assert "whole" not in here.sockets.told[ann][-1]


async def test_what_changed_while_the_answer_was_on_its_way_is_told_once_more(
    pair: Pair, room: str, monkeypatch: pytest.MonkeyPatch
):
    here, there = pair
    monkeypatch.setattr(lookers, "YOUNG", 0.7)
    ann = here.enter("ann", room)
    await here.look(ann, room)
    there.enter("cem", room)
    await until(lambda: len(here.sockets.told[ann]) == 2, "it is told twice")
    first, again = here.sockets.told[ann]
    assert first == again == {"room": room, "users": [{"id": "cem", "state": "online"}], "count": 2}


async def test_of_a_room_with_very_many_some_are_listed_and_all_are_counted(pair: Pair, room: str):
    here, there = pair
    ann = here.enter("ann", room)
    name = "u" * 100
    many = [there.enter(f"{name}{number}", room) for number in range(MAX_REPORTED + 10)]
    answer = await here.look(ann, room)
    assert (len(answer.users), answer.count) == (500, MAX_REPORTED + 1)
    for connection in many:
        there.end(connection)
    await until(lambda: here.sockets.told[ann] and here.sockets.told[ann][-1]["count"] == 1, "all have gone")
    assert states(here, ann, answer.users) == {"ann": "online"}


async def test_who_is_in_a_room_of_thousands_is_said_in_messages_that_fit_and_in_bounds(pair: Pair, room: str):
    here, _ = pair
    name = "u" * 100
    for number in range(MAX_REPORTED + 10):
        here.enter(f"{name}{number}", room)
    reports = await here.presence.present(here.namespace, [room, fresh("empty")])
    assert sum(report.outstanding for report in reports) == 0
    assert sum(len(part.users) for report in reports for part in report.parts) == MAX_REPORTED
    assert max(len(report.encode()) for report in reports) < 512 * 1024
    assert reports[0].outstanding > 0, "one of several is not all"
    assert (here.namespace, room) not in here.presence._reports._rooms
