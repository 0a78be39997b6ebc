"""Asking again: everything that was added, in batches, until there is an answer, and slowly for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from parley.common.errors import Code, Reject
from parley.gateway.admission import reconciliation
from parley.gateway.admission.reconciliation import Reconciliation, in_rounds
from tests.support.waiting import until


class Answers:
    """Who is asked, and whether there is an answer."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.away = 0
        """How many questions are yet to be refused."""
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, batch: list[int]) -> None:
        self.asked.append(batch)
        await self.gate.wait()
        if self.away:
            self.away -= 1
            raise Reject(Code.UNAVAILABLE)


@pytest.fixture
def answers() -> Answers:
    return Answers()


def asking(answers: Answers, *, batch: int = 10, at_once: int = 1) -> Reconciliation[int]:
    return Reconciliation("test", answers.ask, batch=batch, at_once=at_once)


async def test_everything_is_asked_about_once_in_batches(answers: Answers):
    questions = asking(answers, batch=10, at_once=2)
    assert questions.done
    questions.add(range(25))
    assert not questions.done
    await until(lambda: questions.done)
    assert [len(batch) for batch in answers.asked] == [10, 10, 5]
    assert sorted(key for batch in answers.asked for key in batch) == [*range(25)]
    await questions.close()


async def test_everything_at_once_is_taken_bit_by_bit_and_a_later_everything_replaces_an_earlier(answers: Answers):
    taken: list[int] = []

    def everything() -> Iterator[int]:
        for key in range(25):
            taken.append(key)
            yield key

    answers.gate.clear()
    questions = asking(answers, batch=10)
    questions.add_all(everything())
    await until(lambda: answers.asked)
    assert taken == [*range(10)]
    questions.add_all(everything())
    questions.add([100])
    answers.gate.set()
    await until(lambda: questions.done)
    assert [len(batch) for batch in answers.asked] == [10, 10, 10, 6]
    assert taken == [*range(10), *range(25)]
    assert answers.asked[1][0] == 100
    await questions.close()


async def test_it_asks_until_there_is_an_answer_however_long_that_takes(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciliation, "PAUSES", (0.001,))
    answers.away = 200
    questions = asking(answers)
    questions.add([1, 2])
    await until(lambda: questions.done)
    assert answers.asked == [[1, 2]] * 201
    await questions.close()


async def test_a_bug_in_asking_ends_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconciliation, "PAUSES", (0.001,))
    asked = 0

    async def ask(_batch: list[int]) -> None:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise ZeroDivisionError

    questions = Reconciliation("test", ask, batch=10, at_once=1)
    questions.add([1])
    await until(lambda: questions.done)
    assert asked == 3
    await questions.close()


async def test_what_is_added_while_it_is_asked_about_is_asked_once_more_however_often_it_is_added(answers: Answers):
    answers.gate.clear()
    questions = asking(answers)
    questions.add([1, 2])
    await until(lambda: answers.asked)
    for _ in range(20):
        questions.add([1, 2])
    answers.gate.set()
    await until(lambda: questions.done)
    assert answers.asked == [[1, 2], [1, 2]]
    await questions.close()


async def test_what_is_added_ends_a_pause(answers: Answers, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconciliation, "PAUSES", (60.0,))
    answers.away = 1
    questions = asking(answers)
    questions.add([1])
    await until(lambda: len(answers.asked) == 1)
    questions.add([1])
    await until(lambda: questions.done)
    assert answers.asked == [[1], [1]]
    await questions.close()


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
async def test_a_round_hands_out_everything_once_and_spreads_it(count: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconciliation, "TICK", 0.02)
    seen: Counter[int] = Counter()
    portions: list[int] = []

    def take(keys: list[int]) -> None:
        seen.update(keys)
        portions.append(len(keys))

    with suppress(TimeoutError):
        async with asyncio.timeout(0.15):
            await in_rounds(lambda: range(count), take, 0.2)
    assert set(seen.values()) <= {1}
    assert max(portions) <= max(1, count // 10)
    assert bool(seen) == bool(count)
    if count == 0:
        assert len(portions) > 1  # somebody may come


async def test_everything_has_been_dealt_with_though_more_is_added_all_the_time(answers: Answers):
    questions = asking(answers, batch=10, at_once=2)
    answers.gate.clear()
    answers.away = 1
    questions.add_all(iter(range(15)))
    questions.add(range(100, 103))
    assert not questions.all_done
    await until(lambda: answers.asked)
    answers.gate.set()
    await until(lambda: not answers.away)
    assert not questions.all_done, "some have no answer"

    def add() -> None:
        questions.add([len(answers.asked) + 1000])

    async def keep_adding() -> None:
        while True:
            add()
            await asyncio.sleep(0)

    adding = asyncio.create_task(keep_adding())
    await until(lambda: questions.all_done)
    assert not questions.done
    assert {key for batch in answers.asked for key in batch} >= {*range(15)}
    adding.cancel()
    with suppress(asyncio.CancelledError):
        await adding
    await questions.close()
