"""Places in the log: whatever becomes visible is read once, in whatever order transactions commit, and pages end."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from parley.chat.log.position import BEGINNING, Place, Position, Snapshot, Stride


@dataclass
class Postgres:
    """Transactions that begin, write events of one room each, and end; `visible` is what a reader finds."""

    next: int = 5
    running: dict[int, list[Place]] = field(default_factory=dict[int, list[Place]])
    visible: list[Place] = field(default_factory=list[Place])

    def begin(self, events: int) -> None:
        self.running[self.next] = [Place(self.next, number % 3 - 1, number) for number in range(1, events + 1)]
        self.next += 1

    def end(self, which: int, *, commit: bool) -> None:
        if self.running:
            written = self.running.pop(sorted(self.running)[which % len(self.running)])
            self.visible += written if commit else []

    def read(self, position: Position, below: int, most: int) -> tuple[list[Place], Position, bool]:
        """A page as the statement of `tail` finds it."""
        within = position.within
        found = sorted(
            place
            for place in self.visible
            if place.transaction in position.running or position.next <= place.transaction < below
            if within is None or place.transaction != within.transaction or place > within
        )
        found.sort(key=lambda place: within is None or place.transaction != within.transaction)
        page = found[:most]
        snapshot = Snapshot(self.next, tuple(self.running))
        last = page[-1] if len(page) == most else None
        return page, position.after(snapshot, below, last), last is None and below >= self.next


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 7)),
        st.tuples(st.just("commit"), st.integers(0, 9)),
        st.tuples(st.just("abort"), st.integers(0, 9)),
        st.tuples(st.just("read"), st.integers(1, 5)),
        st.tuples(st.just("stride"), st.integers(1, 6)),
    ),
    max_size=60,
)


@example([("begin", 3), ("begin", 1), ("commit", 1), ("read", 1), ("read", 1)])
@example([("begin", 2), ("begin", 2), ("commit", 1), ("read", 1), ("commit", 0), ("read", 1), ("read", 1)])
@given(STEPS)
def test_whatever_becomes_visible_is_read_once_however_late(steps: list[tuple[str, int]]):
    postgres, position, read, stride = Postgres(), BEGINNING, list[Place](), 3
    for step, number in [*steps, *[("commit", 0)] * 60, *[("read", 3)] * 400]:
        match step:
            case "begin":
                postgres.begin(number)
            case "commit" | "abort":
                postgres.end(number, commit=step == "commit")
            case "stride":
                stride = number
            case _:
                page, position, _ = postgres.read(position, position.next + stride, number)
                read += page
                assert Position.decode(position.encode()) == position
    assert sorted(read) == sorted(postgres.visible)
    assert len(set(read)) == len(read)


def test_a_transaction_that_runs_for_ever_holds_up_nobody():
    postgres = Postgres()
    postgres.begin(1)
    position = BEGINNING
    for _ in range(50):
        postgres.begin(2)
        postgres.end(1, commit=True)
        page, position, done = postgres.read(position, position.next + 100, 10)
        assert (len(page), done) == (2, True)
    assert position.running == (5,)
    postgres.end(0, commit=True)
    page, position, _ = postgres.read(position, position.next + 100, 10)
    assert (page, position.running) == ([Place(5, 0, 1)], ())


def test_a_snapshot_is_read_as_postgres_writes_it_and_in_the_numbers_of_the_log():
    assert Snapshot.parse("10:20:10,14") == Snapshot(20, (10, 14))
    assert Snapshot.parse("10:10:", 100) == Snapshot(110, ())


def test_a_stride_is_short_where_much_is_found_and_long_where_nothing_is():
    stride, position = Stride(), Position(1000)
    for _ in range(40):
        stride.learn(position, Snapshot(10**12, ()), full=False)
    assert stride.below(position) > 10**12
    stride.learn(position, Snapshot(5000, ()), full=True)
    assert stride.below(position) == 3000
    for _ in range(20):
        stride.learn(position, Snapshot(5000, ()), full=True)
    assert stride.below(position) == 1001
