"""The wheel of heartbeats: nothing too early, nothing a tick too late, everything once."""

from __future__ import annotations

import math
import weakref

from hypothesis import given
from hypothesis import strategies as st

from parley.engineio.timer_wheel import TimerEntry, TimerWheel


class Beat:
    """Does nothing."""

    slot = 0

    def on_due(self, now: float) -> float | None:
        return None


def test_what_is_due_comes_out_once_its_tick_is_full():
    wheel, beat = TimerWheel(1.0, 100.0), Beat()
    wheel.add(beat, 102.5)
    assert wheel.due(102.9) == []
    assert wheel.due(103.0) == [beat]
    assert wheel.due(200.0) == []


def test_what_is_due_at_once_comes_with_the_next_tick():
    wheel, first, second = TimerWheel(1.0, 100.0), Beat(), Beat()
    assert wheel.due(105.0) == []
    wheel.add(first, 3.0)
    wheel.add(second, 105.0)
    assert wheel.due(105.9) == []
    assert wheel.due(106.0) == [first, second]


def test_after_a_stall_everything_that_was_missed_comes_in_its_order():
    wheel, early, late = TimerWheel(0.5, 0.0), Beat(), Beat()
    wheel.add(late, 30.0)
    wheel.add(early, 7.0)
    assert wheel.due(60.0) == [early, late]


@given(
    st.sampled_from([0.01, 0.012, 0.25, 1.0]),
    st.floats(0, 1e6),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 3)), max_size=30),
)
def test_nothing_is_early_late_lost_or_doubled(tick: float, start: float, steps: list[tuple[float, float]]):
    wheel, now = TimerWheel(tick, start), start
    wanted: dict[TimerEntry, float] = {}
    seen: list[TimerEntry] = []
    for delay, pause in [*steps, (0.0, 50.0)]:
        beat = Beat()
        wanted[beat] = now + delay
        wheel.add(beat, now + delay)
        previous, now = now, now + pause
        for found in wheel.due(now):
            assert wanted[found] <= now or math.isclose(wanted[found], now)
            assert found not in seen
            seen.append(found)
        overdue = [beat for beat, at in wanted.items() if at + 2 * tick < now and beat not in seen]
        assert not overdue, (previous, now)
    assert len(seen) == len(wanted)


def test_what_is_removed_never_comes_and_is_not_kept():
    wheel, dead, alive = TimerWheel(1.0, 100.0), Beat(), Beat()
    wheel.add(dead, 145.0)
    wheel.add(alive, 145.0)
    reference = weakref.ref(dead)
    wheel.remove(dead)
    wheel.remove(dead)
    del dead
    assert reference() is None
    assert wheel.due(200.0) == [alive]
    wheel.remove(alive)
