"""Questions are answered together, each with what was true after it was asked."""

from __future__ import annotations

import asyncio

import pytest

from parley.common import batch_loader
from parley.common.batch_loader import BatchLoader
from parley.common.errors import Code, Reject


class Source:
    """Answers with what it holds when it is asked, once it is let."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.asked: list[list[str]] = []
        self.let = asyncio.Event()

    async def find(self, keys: list[str]) -> dict[str, int]:
        self.asked.append(keys)
        found = {key: self.held[key] for key in keys if key in self.held}
        await self.let.wait()
        if "bad" in keys:
            raise Reject(Code.INTERNAL)
        return found

    async def asked_times(self, times: int) -> None:
        async with asyncio.timeout(5):
            while len(self.asked) < times:
                await asyncio.sleep(0)


async def test_questions_that_come_while_others_are_answered_are_answered_together_with_what_is_true_then() -> None:
    source = Source()
    source.held = {"a": 1, "b": 2}
    answers: BatchLoader[str, int] = BatchLoader(source.find, 10)
    first = [asyncio.create_task(answers.load(key)) for key in ("a", "b", "a", "unknown")]
    await source.asked_times(1)
    source.held["a"] = 7
    later = [asyncio.create_task(answers.load(key)) for key in ("a", "b")]
    await asyncio.sleep(0)
    source.let.set()
    assert await asyncio.gather(*first) == [1, 2, 1, None]
    assert await asyncio.gather(*later) == [7, 2]
    assert source.asked == [["a", "b", "unknown"], ["a", "b"]]


async def test_no_more_are_asked_at_once_than_allowed_and_a_failure_is_of_those_alone() -> None:
    source = Source()
    source.held = dict.fromkeys("abcd", 1)
    source.let.set()
    answers: BatchLoader[str, int] = BatchLoader(source.find, 2)
    outcomes = await asyncio.gather(*(answers.load(key) for key in ("a", "bad", "c", "d")), return_exceptions=True)
    assert source.asked == [["a", "bad"], ["c", "d"]]
    assert [isinstance(outcome, Reject) for outcome in outcomes] == [True, True, False, False]
    assert await answers.load("a") == 1


async def test_beyond_a_bound_it_is_overloaded_until_answers_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_loader, "MAX_WAITING", 2)
    source = Source()
    answers: BatchLoader[str, int] = BatchLoader(source.find, 10)
    waiting = [asyncio.create_task(answers.load("a")) for _ in range(2)]
    await source.asked_times(1)
    with pytest.raises(Reject) as overloaded:
        await answers.load("b")
    assert overloaded.value.code is Code.OVERLOADED
    source.let.set()
    await asyncio.gather(*waiting)
    assert await answers.load("b") is None


async def test_who_waits_when_it_closes_is_told_unavailable() -> None:
    source = Source()
    answers: BatchLoader[str, int] = BatchLoader(source.find, 10)
    asked = asyncio.create_task(answers.load("a"))
    await source.asked_times(1)
    waiting = asyncio.create_task(answers.load("b"))
    await asyncio.sleep(0)
    await answers.close()
    for task in (asked, waiting):
        with pytest.raises(Reject) as unavailable:
            await task
        assert unavailable.value.code is Code.UNAVAILABLE


async def test_a_question_without_an_answer_fails_alone_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_loader, "FIND_SECONDS", 0.05)
    source = Source()
    source.held = {"b": 2}
    answers: BatchLoader[str, int] = BatchLoader(source.find, 1)
    assert answers.age() == 0
    lost = asyncio.create_task(answers.load("a"))
    await source.asked_times(1)
    next_one = asyncio.create_task(answers.load("b"))
    assert 0 < answers.age() < 5
    with pytest.raises(Reject) as unavailable:
        async with asyncio.timeout(5):
            await lost
    source.let.set()
    assert unavailable.value.code is Code.UNAVAILABLE
    assert await next_one == 2
    assert answers.age() == 0
