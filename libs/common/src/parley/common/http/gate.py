"""What HTTP connections may cost before anybody has looked at a request: how many, how long, how many at once.

One `HttpGate` belongs to one server. It counts connections by address, ends those that take too long over a head, a
body or an answer, and lets so many bytes of heads be parsed and so many requests begin in a turn of the loop, requests
one address after the other. What connections have sent and nobody has begun with is bounded in sum.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from prometheus_client import Counter

HTTP_LIMITED = Counter(
    "parley_http_limited_total", "HTTP requests and connections refused or ended because of a limit", ["limit"]
)

SWEEP_SECONDS = 0.5
"""How exactly deadlines are kept: there is no timer per connection."""
REQUESTS_PER_TURN = 4
"""Requests and upgrades that begin in a turn of the loop."""
PARSED_PER_TURN = 16 * 1024
"""Bytes outside of bodies that are parsed in a turn of the loop, of all connections together."""
DISCARDS_PER_TURN = 4
"""Refused connections of which the next piece is read and thrown away in a turn of the loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Times in seconds, sizes in bytes."""

    head_bytes: int = 32 * 1024
    headers: int = 128
    """Headers of a request: many small ones cost twenty times their bytes."""
    held_bytes: int = 32 * 1024 * 1024
    """Of heads that are incomplete and of requests that wait behind others, on all connections together."""
    head_seconds: float = 10.0
    body_bytes: int = 4 * 1024 * 1024
    """Of any body. What a route takes is its own affair; this is where reading ends."""
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    """How long a client may not read an answer."""
    linger_seconds: float = 2.0
    """How long a connection that was refused stays, so that the answer arrives."""
    lingering: int = 64
    """How many such connections stay at once; one more ends the one that has stayed longest."""
    new_per_address: int = 1024
    """Connections of one address, a proxy's too, that have not completed their first head."""
    new_in_all: int = 8192
    per_address: int = 10_000
    """Connections of one address that is no trusted proxy's; WebSockets are not among them."""


class Expiring(Protocol):
    """A connection, as deadlines see it."""

    def expired(self, limit: str) -> None:
        """It took too long over this."""
        ...


class Waiting(Protocol):
    """A connection that has something to be parsed."""

    def parse_on(self) -> None:
        """Parse it."""
        ...


class RefusedConnection(Protocol):
    """A connection that was refused, and may have sent more than was read of it."""

    def discard_on(self) -> None:
        """Read and throw away another piece."""
        ...


class Deadlines:
    """Who must have done something in so many seconds, in the order in which the time is up."""

    def __init__(self, limit: str, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._due: dict[Expiring, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def start(self, connection: Expiring, now: float) -> None:
        """Begin its time, if that does not run already."""
        if connection not in self._due:
            self._due[connection] = now + self._seconds

    def stop(self, connection: Expiring) -> None:
        """It has done it, or is gone."""
        self._due.pop(connection, None)

    def overdue(self, now: float) -> Iterator[Expiring]:
        """Take out those whose time is up."""
        # All have the same time, so they are in order.
        while self._due:
            connection = next(iter(self._due))
            if self._due[connection] > now:
                break
            del self._due[connection]
            yield connection

    def oldest(self) -> Expiring:
        """Take out the one whose time is up first."""
        connection = next(iter(self._due))
        del self._due[connection]
        return connection


WaitingT = TypeVar("WaitingT")


class _TurnQueue(Generic[WaitingT]):
    """What waits for a turn: one address after the other, however much one of them has waiting."""

    def __init__(self) -> None:
        self._by_address: dict[str, deque[WaitingT]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, address: str, waiting: WaitingT) -> None:
        self._count += 1
        self._by_address.setdefault(address, deque()).append(waiting)

    def pop(self) -> WaitingT:
        self._count -= 1
        address = next(iter(self._by_address))
        queue = self._by_address.pop(address)
        waiting = queue.popleft()
        if queue:
            # Behind the other addresses.
            self._by_address[address] = queue
        return waiting


class HttpGate:
    """Counts, deadlines and turns of one server's HTTP connections, which report to it."""

    def __init__(self, limits: HttpLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.limits = limits
        self.clock = loop.time
        self.server: tuple[str, int | None] | None = None
        """The address that the server listens on."""
        self.heads = Deadlines("head_seconds", limits.head_seconds)
        self.bodies = Deadlines("body_seconds", limits.body_seconds)
        self.answers = Deadlines("answer_seconds", limits.answer_seconds)
        self.lingering = Deadlines("", limits.linger_seconds)
        self._new: dict[str, int] = {}
        self._new_connections = Deadlines("new_in_all", 0.0)
        self._connections: dict[str, int] = {}
        self._loop = loop
        self._sweeping = False
        self._left = REQUESTS_PER_TURN
        self._unparsed = PARSED_PER_TURN
        self._turning = False
        self._waiting = _TurnQueue[Callable[[], object]]()
        self._parsers = _TurnQueue[Waiting]()
        self._refused = _TurnQueue[RefusedConnection]()
        self._held: dict[Expiring, int] = {}
        self._held_bytes = 0

    # -- connections -----------------------------------------------------------------------------------------------

    def connected(self, connection: Expiring, address: str, *, proxy: bool) -> bool:
        """Count a connection. False when its address has too many, which `disconnected` must be told as well."""
        connections = self._connections[address] = self._connections.get(address, 0) + 1
        new = self._new[address] = self._new.get(address, 0) + 1
        self._new_connections.start(connection, 0.0)
        self.heads.start(connection, self.clock())
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_SECONDS, self._sweep)
        if new > self.limits.new_per_address or (connections > self.limits.per_address and not proxy):
            return False
        if len(self._new_connections) > self.limits.new_in_all:
            # Who means to ask something does so at once, so the oldest has the least to lose.
            self._expire(self._new_connections, self._new_connections.oldest())
        return True

    def first_head(self, connection: Expiring, address: str) -> None:
        """The connection has completed its first head, or is gone without."""
        self._new_connections.stop(connection)
        _subtract(self._new, address)

    def disconnected(self, connection: Expiring, address: str) -> None:
        """The connection is gone, or no HTTP connection any more."""
        _subtract(self._connections, address)
        for deadlines in (self.heads, self.bodies, self.answers, self.lingering):
            deadlines.stop(connection)
        self.holds(connection, 0)

    def holds(self, connection: Expiring, size: int) -> None:
        """Note what a connection makes the server hold. Too much in sum ends those who have held longest."""
        self._held_bytes += size - self._held.get(connection, 0)
        if size:
            self._held[connection] = size
        else:
            self._held.pop(connection, None)
        while self._held_bytes > self.limits.held_bytes:
            oldest = next(iter(self._held))
            self._held_bytes -= self._held.pop(oldest)
            HTTP_LIMITED.labels("held_bytes").inc()
            oldest.expired("held_bytes")

    # -- time ------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        now = self.clock()
        for deadlines in (self.heads, self.bodies, self.answers, self.lingering):
            for connection in deadlines.overdue(now):
                self._expire(deadlines, connection)
        self._sweeping = bool(self._connections)
        if self._sweeping:
            self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _expire(self, deadlines: Deadlines, connection: Expiring) -> None:
        if deadlines.limit:
            HTTP_LIMITED.labels(deadlines.limit).inc()
        connection.expired(deadlines.limit)

    # -- turns -----------------------------------------------------------------------------------------------------

    def begin(self, address: str, request: Callable[[], object]) -> bool:
        """Let a request begin, in this turn of the loop or in a later one; says whether it has begun."""
        self._schedule()
        if self._left and not self._waiting:
            self._left -= 1
            request()
            return True
        self._waiting.append(address, request)
        return False

    @property
    def exhausted(self) -> bool:
        """Whether so much was parsed in this turn that what else came waits."""
        return self._unparsed <= 0

    def parsed(self, size: int) -> None:
        """So many bytes outside of bodies were parsed."""
        self._unparsed -= size
        self._schedule()

    def parse_later(self, address: str, connection: Waiting) -> None:
        """Have a connection parse on when others have had their turn."""
        self._parsers.append(address, connection)
        self._schedule()

    def linger(self, connection: Expiring) -> None:
        """Let a refused connection stay for a while."""
        self.lingering.start(connection, self.clock())
        if len(self.lingering) > self.limits.lingering:
            self._expire(self.lingering, self.lingering.oldest())

    def discard_later(self, address: str, connection: RefusedConnection) -> None:
        """Have a refused connection read on when it is its turn."""
        self._refused.append(address, connection)
        self._schedule()

    def _schedule(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        self._left, self._unparsed = REQUESTS_PER_TURN, PARSED_PER_TURN
        waiting, parsers, refused = self._waiting, self._parsers, self._refused
        try:
            for _ in range(min(len(refused), DISCARDS_PER_TURN)):
                refused.pop().discard_on()
            for _ in range(len(parsers)):
                if self.exhausted:
                    break
                parsers.pop().parse_on()
            while waiting and self._left:
                self._left -= 1
                waiting.pop()()
        finally:
            if waiting or parsers or refused or self._left < REQUESTS_PER_TURN or self._unparsed < PARSED_PER_TURN:
                self._schedule()


def _subtract(counts: dict[str, int], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
