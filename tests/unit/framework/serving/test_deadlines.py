"""What takes too long is cancelled once, and told apart from what somebody else cancels."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from parley.framework.serving.deadlines import ControllerDeadlines


async def started(work: asyncio.Future[None] | asyncio.Task[None]) -> None:
    """Let it come to where it waits."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not work.done()


async def test_a_future_that_is_late_is_cancelled_once_and_one_that_is_not_goes_on():
    deadlines, loop = ControllerDeadlines(), asyncio.get_running_loop()
    late, early = loop.create_future(), loop.create_future()
    deadlines.watch(late, 1.0)
    deadlines.watch(early, 3.0)
    deadlines.cancel_late(2.0)
    deadlines.cancel_late(2.5)
    assert (late.cancelled(), early.done()) == (True, False)
    assert (deadlines.forget(late), deadlines.forget(early)) == (True, False)
    deadlines.cancel_late(9.0)
    assert not early.done()


async def test_a_task_that_is_late_says_so_and_goes_on():
    deadlines, outcomes = ControllerDeadlines(), list[str]()

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        deadlines.watch(task, 1.0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outcomes.append("late" if deadlines.release(task) else "cancelled")
        await asyncio.sleep(0)
        outcomes.append("goes on")

    task = asyncio.create_task(work())
    await started(task)
    deadlines.cancel_late(2.0)
    await task
    assert outcomes == ["late", "goes on"]
    assert not task.cancelling()


async def test_a_controller_that_passes_over_its_cancellation_has_made_nothing_of_the_next_one():
    deadlines = ControllerDeadlines()

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        deadlines.watch(task, 1.0)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        deadlines.release(task)
        await asyncio.sleep(0)

    task = asyncio.create_task(work())
    await started(task)
    deadlines.cancel_late(2.0)
    await task
    assert not task.cancelling()


async def test_a_cancellation_of_somebody_elses_passes_through():
    deadlines = ControllerDeadlines()

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        deadlines.watch(task, 1.0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert not deadlines.release(task)
            raise

    for both in (False, True):
        task = asyncio.create_task(work())
        await started(task)
        if both:
            deadlines.cancel_late(2.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
