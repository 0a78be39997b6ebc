"""What is asked for several times is done once: at once after a pause, and gathered while much is asked for."""

from __future__ import annotations

import asyncio
import time

from parley.common.throttle import Throttle
from tests.support.waiting import until

INTERVAL = 0.05


async def turns(number: int) -> None:
    """Let the loop turn so often."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_after_a_pause_it_runs_within_two_turns_whatever_is_asked_meanwhile():
    ran: list[float] = []
    throttle = Throttle(lambda: ran.append(time.monotonic()), INTERVAL)
    throttle.soon()
    await turns(1)
    throttle.soon()
    assert not ran, "what follows one turn later goes along"
    await turns(2)
    assert len(ran) == 1


async def test_what_is_asked_soon_after_waits_until_the_interval_is_over_and_then_runs_once():
    ran: list[float] = []
    throttle = Throttle(lambda: ran.append(time.monotonic()), INTERVAL)
    throttle.soon()
    await until(lambda: ran)
    for _ in range(10):
        throttle.soon()
        await turns(1)
        # A busy machine may be slower than the interval.
        assert len(ran) == 1 or ran[1] - ran[0] > INTERVAL - 0.002
    await until(lambda: len(ran) == 2)
    # Loops round their timers to milliseconds.
    assert ran[1] - ran[0] > INTERVAL - 0.002
    await turns(5)
    assert len(ran) == 2, "nobody has asked again"


async def test_what_its_action_asks_for_runs_one_interval_later():
    ran: list[float] = []

    def act() -> None:
        ran.append(time.monotonic())
        if len(ran) < 3:
            throttle.soon()

    throttle = Throttle(act, 0.01)
    throttle.soon()
    await until(lambda: len(ran) == 3)
    assert ran[2] - ran[0] > 2 * (0.01 - 0.002)


async def test_an_action_that_fails_is_run_again_when_it_is_asked_for():
    ran = 0

    def fail() -> None:
        nonlocal ran
        ran += 1
        raise RuntimeError("no")

    throttle = Throttle(fail, 0.0)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    for number in (1, 2):
        throttle.soon()
        await turns(3)
        assert ran == number
