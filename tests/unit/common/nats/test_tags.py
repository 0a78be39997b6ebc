"""Tags of what is under way: ranges, deadlines, and nothing kept of what is settled."""

from __future__ import annotations

import asyncio
import gc

from parley.common.nats import tags
from parley.common.nats.tags import MAX_LATE_AT_ONCE, TagTable
from tests.support.waiting import until


class Thing:
    """Something that waits."""


def test_the_tags_of_a_message_follow_each_other_and_those_of_two_runs_are_far_apart():
    one, other = TagTable[int](), TagTable[int]()
    first, second = one.issue([1, 2, 3]), one.issue([4])
    assert (len(first), first.stop) == (3, second.start)
    assert first.start > 3
    assert abs(other.issue([1]).start - first.start) > 1_000


def test_an_entry_is_settled_once_and_a_range_takes_what_is_left_of_it():
    table = TagTable[str]()
    before, message, after = table.issue(["x"]), table.issue(["a", "b", "c"]), table.issue(["y"])
    assert table.settle(message[1]) == "b"
    assert table.settle(message[1]) is None
    assert table.settle_range(message.start, message.stop - 1) == ["a", "c"]
    assert table.settle_range(message.start, message.stop - 1) == []
    assert [table.get(before.start), table.get(after.start)] == ["x", "y"]
    # Whoever makes up a range pays nothing of ours for its size.
    assert table.settle_range(0, 2**60) == ["x", "y"]


async def test_what_is_not_settled_in_time_is_told_so_and_what_is_settled_is_not():
    late: list[tuple[int, str]] = []
    table = TagTable[str](lambda tag, entry: late.append((tag, entry)))
    message = table.issue(["a", "b", "c"], 0.02)
    table.settle(message[1])
    await until(lambda: len(late) >= 2, "both are late", seconds=5)
    assert late == [(message[0], "a"), (message[2], "c")]
    assert len(table) == 0


async def test_of_a_hundred_thousand_that_time_out_together_some_are_told_per_turn_of_the_loop():
    turns: list[int] = [0]
    table = TagTable[int](lambda _tag, _entry: turns.__setitem__(-1, turns[-1] + 1))
    for _ in range(100):
        table.issue(range(1_000), 0.01)
    async with asyncio.timeout(10):
        while len(table):
            await asyncio.sleep(0)
            if turns[-1]:
                turns.append(0)
    assert sum(turns) == 100_000
    assert max(turns) <= MAX_LATE_AT_ONCE


async def test_one_that_hangs_keeps_no_memory_of_messages_that_are_settled():
    table = TagTable[Thing](lambda _tag, _entry: None)
    table.issue([Thing()], 3600)
    for _ in range(100):
        message = table.issue([Thing(), Thing()], 3600)
        for tag in message:
            table.settle(tag)
    gc.collect()
    await asyncio.sleep(0)
    assert len(table) == 1
    assert sum(isinstance(thing, tags._Message) for thing in gc.get_objects()) == 1
    table.close()


async def test_one_that_cannot_be_told_that_it_is_late_keeps_no_other_from_being_told():
    told: list[str] = []

    def tell(_tag: int, entry: str) -> None:
        if entry == "broken":
            raise RuntimeError("no")
        told.append(entry)

    table = TagTable[str](tell)
    table.issue(["broken", "neighbour"], 0.01)
    table.issue(["later"], 0.03)
    await until(lambda: len(told) >= 2, "both are told", seconds=5)
    assert told == ["neighbour", "later"]
