"""How far somebody who follows the log has read it, pure: which transactions they have read, and which not.

Transactions do not become visible in the order of their numbers. So a place in the log is a set of them, as in a
snapshot of Postgres: all below `next` but those in `running`, which had not committed when the others were read.
Whatever is committed later is read later, however long another transaction has been running: none of them, whoever's it
is, holds up the rest.

    | read                              | place afterwards                                                          |
    |-----------------------------------|---------------------------------------------------------------------------|
    | all that is visible               | all transactions begun before the snapshot, but those that still run      |
    | all that is visible below a bound | the same, below the bound                                                 |
    | a page of it                      | all before the page's last transaction, and of that what the page holds   |

A room's events are committed in the order of their sequences, so a snapshot that has one has those before it. In the
order of transactions they may stand the other way round, see `tail`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Place(NamedTuple):
    """Where an event stands in the order in which the log is read."""

    transaction: int
    room_id: int
    sequence: int


class Snapshot(NamedTuple):
    """What Postgres showed: all transactions below `next` but those that were `running`."""

    next: int
    running: tuple[int, ...]

    @classmethod
    def parse(cls, text: str, offset: int = 0) -> Snapshot:
        """Read a `pg_snapshot`, whose numbers are this server's; `offset` makes the log's of them."""
        _, following, running = text.split(":")
        return cls(int(following) + offset, tuple(int(number) + offset for number in running.split(",") if number))


class Position(NamedTuple):
    """All transactions below `next` are read, but those in `running`.

    `within` is the last event read of a transaction that was not read to its end: one of `running`, or `next`.
    """

    next: int
    running: tuple[int, ...] = ()
    within: Place | None = None

    @classmethod
    def decode(cls, text: str) -> Position:
        """Read what `encode` wrote."""
        following, running, *within = text.split(":")
        return cls(
            int(following),
            tuple(int(number) for number in running.split(",") if number),
            Place(*map(int, within)) if within else None,
        )

    def encode(self) -> str:
        """The text that is kept in Postgres."""
        text = f"{self.next}:{','.join(map(str, self.running))}"
        return f"{text}:{':'.join(map(str, self.within))}" if self.within else text

    def has_read(self, transaction: int) -> bool:
        """Whether this one and all before it are read."""
        return transaction < self.next and self.within is None and all(one > transaction for one in self.running)

    def after(self, snapshot: Snapshot, below: int, last: Place | None) -> Position:
        """The position once what `snapshot` shows beyond this one was read, of transactions before `below`.

        `last` is the last event of a page that may not hold all of it; None where it does.
        """
        if last is None:
            return self._with(max(self.next, min(below, snapshot.next)), snapshot.running)
        if last.transaction >= self.next:
            return self._with(last.transaction, snapshot.running)._replace(within=last)
        # It stands among those that were running. What stands behind it was not read, whether it has ended or not.
        left = {number for number in self.running if number >= last.transaction}
        return self._with(self.next, {*left, *snapshot.running})._replace(within=last)

    def _with(self, following: int, running: Iterable[int]) -> Position:
        return Position(following, tuple(sorted(number for number in running if number < following)))


BEGINNING = Position(3)
"""Before all events: smaller numbers are given to no transaction."""


class Stride:
    """How many transactions are looked at by one statement: few where they hold many events, many where they hold none.

    A summary of blocks finds transactions without an order, so all that is found has to be sorted for a page of it.
    """

    FIRST, LONGEST = 1024, 2**60

    def __init__(self) -> None:
        self._length = self.FIRST

    def below(self, position: Position) -> int:
        """The transaction before which to stop."""
        return position.next + self._length

    def learn(self, position: Position, snapshot: Snapshot, *, full: bool) -> None:
        """Take a page into account, which was full or held all that was found."""
        if full:
            self._length = max(1, min(self._length, snapshot.next - position.next) // 2)
        else:
            self._length = min(self._length * 4, self.LONGEST)

    def shorten(self) -> None:
        """A statement took too long."""
        self._length = max(1, min(self._length, 2**24) // 16)
