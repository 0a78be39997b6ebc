"""How far somebody who follows the log has read it, pure: which transactions are read, and which are not.

Transactions do not become visible in the order of their numbers. So a position in the log is a set of them, like a
snapshot of Postgres: all below `next`, except those in `running`, which had not committed when the others were read.
What commits later is read later, however long another transaction has been running: none of them holds up the rest.

    | what was read                     | position afterwards                                                         |
    |-----------------------------------|-----------------------------------------------------------------------------|
    | all that is visible               | all transactions begun before the snapshot, except those that still run     |
    | all that is visible below a bound | the same, below the bound                                                   |
    | a page of it                      | all before the page's last transaction, and what the page has of that one   |
    | a page of one read in part before | the same, and more of that one                                              |

What is left of a transaction that was read in part is read before anything else.

A room's events are committed in the order of their sequences, so a snapshot that has one of them has those before it.
Ordered by transaction they may stand the other way round; `tail` says what it does then.
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
    """What Postgres showed: all transactions below `next`, except those that were `running`."""

    next: int
    running: tuple[int, ...]

    @classmethod
    def parse(cls, text: str, offset: int = 0) -> Snapshot:
        """Read a `pg_snapshot`. Its numbers are this server's; `offset` turns them into the log's."""
        _, following, running = text.split(":")
        return cls(int(following) + offset, tuple(int(number) + offset for number in running.split(",") if number))


class Position(NamedTuple):
    """All transactions below `next` are read, except those in `running`.

    `within` is the last event that was read of a transaction not read to its end, which is one of `running`, or `next`.
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
        """Return the text that is stored in Postgres."""
        text = f"{self.next}:{','.join(map(str, self.running))}"
        return f"{text}:{':'.join(map(str, self.within))}" if self.within else text

    def has_read(self, transaction: int) -> bool:
        """Return whether this transaction and all before it are read."""
        return transaction < self.next and self.within is None and all(one > transaction for one in self.running)

    def after(self, snapshot: Snapshot, below: int, last: Place | None) -> Position:
        """Return the position after reading what `snapshot` shows beyond this one, of transactions before `below`.

        `last` is the last event of a page that may not have all of it; None if it has.
        """
        if last is None:
            return self._with(max(self.next, min(below, snapshot.next)), snapshot.running)
        if self.within is not None:
            if last.transaction == self.within.transaction:
                return self._replace(within=last)
            return self._read_to_its_end(self.within.transaction).after(snapshot, below, last)
        if last.transaction >= self.next:
            return self._with(last.transaction, snapshot.running)._replace(within=last)
        # The last event is of a transaction that was running before. Nothing after it was read, whether committed or
        # not.
        left = {number for number in self.running if number >= last.transaction}
        return self._with(self.next, {*left, *snapshot.running})._replace(within=last)

    def _read_to_its_end(self, transaction: int) -> Position:
        """Return the position after the rest of the transaction that was read in part."""
        if transaction >= self.next:
            return Position(transaction + 1, self.running)
        return Position(self.next, tuple(number for number in self.running if number != transaction))

    def _with(self, following: int, running: Iterable[int]) -> Position:
        return Position(following, tuple(sorted(number for number in running if number < following)))


BEGINNING = Position(3)
"""Before all events. Postgres gives no transaction a smaller number: 0 to 2 are reserved."""


class Stride:
    """How many transactions one statement looks at: few where they have many events, many where they have none.

    A BRIN index finds transactions without their order, so everything that it finds has to be sorted for one page.
    """

    FIRST, LONGEST = 1024, 2**60

    def __init__(self) -> None:
        self._length = self.FIRST

    def below(self, position: Position) -> int:
        """Return the transaction before which the next statement stops."""
        return position.next + self._length

    def learn(self, position: Position, snapshot: Snapshot, *, full: bool) -> None:
        """Adapt to a page, which was either full or had everything that was found."""
        if full:
            self._length = max(1, min(self._length, snapshot.next - position.next) // 2)
        else:
            self._length = min(self._length * 4, self.LONGEST)

    def shorten(self) -> None:
        """Adapt to a statement that took too long."""
        # An unbounded stride would need dozens of failures to become short, so it starts from a bound.
        self._length = max(1, min(self._length, 2**24) // 16)
