"""Who comes with a cursor gets exactly what they missed, and then what is live, while the room is busy."""

from __future__ import annotations

import asyncio
import random

import pytest

from parley.common.wire.rooms import MembershipChange
from parley.gateway.rooms import catch_up, log_reader, repair
from tests.support.gateway.rooms import (
    ROOM,
    Gateway,
    Log,
    background,
    subscribed,
)
from tests.support.waiting import until


class Traffic:
    """A busy room whose deliveries get lost, doubled and out of order."""

    def __init__(self, log: Log, seed: int) -> None:
        self._log = log
        self._random = random.Random(seed)
        self._task = asyncio.create_task(self._run())
        self._going = True

    async def _run(self) -> None:
        while self._going:
            first = self._log.head() + 1
            sequences = [*range(first, self._log.append(self._random.randint(1, 5)) + 1)]
            if self._random.random() < 0.3:
                self._random.shuffle(sequences)
            if self._random.random() < 0.2:
                sequences = sequences[: self._random.randrange(len(sequences) + 1)]
            for sequence in sequences:
                await self._log.publish(*[sequence] * self._random.choice((1, 1, 1, 2)))
            await asyncio.sleep(0.001)

    async def stop(self) -> int:
        """End it, publish the last event for certain, and return its sequence."""
        self._going = False
        await self._task
        last = self._log.append()
        await self._log.publish(last)
        return last


@pytest.mark.parametrize("seed", range(3))
async def test_a_connection_with_a_cursor_gets_exactly_what_it_missed_and_then_live_events_while_the_room_is_busy(
    log: Log, gateway: Gateway, seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(repair, "GRACE", 0.005)
    monkeypatch.setattr(catch_up, "GRACE", 0.005)
    monkeypatch.setattr(log_reader, "REPLAY_LIMIT", 40)
    log.append(100)
    started = {await gateway.member(head=100): 100}
    traffic = Traffic(log, seed)
    for _ in range(25):
        await asyncio.sleep(0.004)
        connection = await gateway.connect()
        # As chat would tell it: the head of this moment, which the gateway may or may not have reached.
        head = log.head()
        after = random.Random(seed + head).choice((0, head // 2, head - 1, head))
        started[connection] = after
        gateway.fanout.enter(connection, ROOM, head=head, after=after)
    last = await traffic.stop()
    for connection, after in started.items():
        await gateway.receives(connection, [*range(after + 1, last + 1)])


async def test_a_room_that_moves_on_while_the_log_is_read_is_not_read_again(log: Log, gateway: Gateway):
    here, late = await gateway.catching_up(log)
    for _ in range(100):
        await log.publish(log.append())
    await gateway.receives(here, [*range(6, 106)])
    log.gate.set()
    await gateway.receives(late, [*range(1, 106)])
    assert log.replays == 1


async def test_who_missed_nothing_is_live_at_once_and_the_log_is_not_asked(log: Log, gateway: Gateway):
    log.append(5)
    ann, ben = await gateway.member(head=5, after=5), await gateway.member(head=5)
    await log.publish(log.append())
    for member in (ann, ben):
        await gateway.receives(member, [6])
    assert log.replays == 0


async def test_a_client_that_is_ahead_of_this_gateway_gets_nothing_twice(log: Log, gateway: Gateway):
    behind = await gateway.member(head=0)
    # Another gateway gave the client these already; here they are yet to come.
    log.append(3)
    ahead = await gateway.connect()
    gateway.fanout.enter(ahead, ROOM, head=3, after=2)
    for sequence in (1, 2, 3):
        await log.publish(sequence)
    await gateway.receives(behind, [1, 2, 3])
    await gateway.receives(ahead, [3])


async def test_who_leaves_while_being_caught_up_gets_nothing_more(log: Log, gateway: Gateway):
    here, gone = await gateway.catching_up(log)
    gateway.fanout.leave(gone, ROOM)
    log.gate.set()
    await until(lambda: not background("catch up"))
    await log.publish(log.append())
    await gateway.receives(here, [6])
    assert gateway.sockets.sequences(gone) == []


async def test_a_leave_heard_of_while_being_caught_up_takes_effect_after_its_event(log: Log, gateway: Gateway):
    here, ann = await gateway.catching_up(log)
    await log.move(ann, MembershipChange(ROOM, False, 4))
    await gateway.settled()
    await log.publish(log.append())
    await gateway.receives(here, [6])
    gateway.fanout.leave(here, ROOM)
    log.gate.set()
    await gateway.receives(ann, [1, 2, 3, 4])
    await until(lambda: not background("catch up"))
    await gateway.settled()
    assert ROOM not in ann.rooms
    assert not await subscribed(log), "nobody is left"
    await gateway.receives(ann, [1, 2, 3, 4])


async def test_who_is_taken_out_and_put_in_again_while_being_caught_up_gets_nothing_twice(log: Log, gateway: Gateway):
    here, ann = await gateway.catching_up(log)
    gateway.fanout.leave(ann, ROOM)
    gateway.fanout.enter(ann, ROOM, head=5, after=3)
    log.gate.set()
    await until(lambda: not background("catch up"))
    await log.publish(log.append())
    await gateway.receives(here, [6])
    await gateway.receives(ann, [4, 5, 6])


async def test_who_leaves_and_comes_back_while_being_caught_up_gets_nothing_twice(log: Log, gateway: Gateway):
    here, ann = await gateway.catching_up(log)
    await log.move(ann, MembershipChange(ROOM, False, 5), MembershipChange(ROOM, True, 6))
    await log.publish(log.append())
    await gateway.receives(here, [6])
    log.gate.set()
    await until(lambda: not background("catch up"))
    await log.publish(log.append())
    await gateway.receives(here, [6, 7])
    assert gateway.sockets.sequences(ann)[-2:] == [6, 7]
    assert gateway.sockets.sequences(ann) == sorted(set(gateway.sockets.sequences(ann)))
