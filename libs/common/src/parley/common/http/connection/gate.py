"""Limits what HTTP connections may cost before a request reaches the app: their number, their time and their work.

One `HttpGate` belongs to one server, whose connections (`request_reader.HttpProtocol`) report to it, all on the
server's loop:

- connections are counted by address, and one too many is refused;
- connections that take too long over a head, a body or an answer are ended;
- in a turn of the loop only so many bytes of heads are parsed and so many requests begin, one address after the other;
- the bytes that connections have sent and that no request has taken yet are bounded in sum.

`HTTP_LIMITED` counts what is refused or ended, by the name of the limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Counter

from parley.common.http.output_budget import OutputBudget

HTTP_LIMITED = Counter(
    "parley_http_limited_total", "HTTP requests and connections refused or ended because of a limit", ["limit"]
)

SWEEP_SECONDS = 0.5
"""Seconds between two looks at the deadlines, and so their exactness: there is no timer per connection."""
REQUESTS_PER_TURN = 4
"""Requests and upgrades that may begin in a turn of the loop."""
PARSED_PER_TURN = 16 * 1024
"""Bytes outside of bodies that may be parsed in a turn of the loop, of all connections together."""
DISCARDS_PER_TURN = 4
"""Refused connections from which a piece may be read and thrown away in a turn of the loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """The limits of one server. Times are in seconds, sizes in bytes."""

    head_bytes: int = 32 * 1024
    headers: int = 128
    """Headers of a request. Many small ones cost twenty times their bytes, so they are bounded in number as well."""
    held_bytes: int = 32 * 1024 * 1024
    """Incomplete heads and requests that wait behind others, on all connections together."""
    head_seconds: float = 10.0
    body_bytes: int = 4 * 1024 * 1024
    """The largest body that is read at all. A route may take less."""
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    """For which a client may leave its answer unread."""
    unread_bytes: int = 64 * 1024 * 1024
    """Bytes of answers that all clients may leave unread (`output_budget`)."""
    linger_seconds: float = 2.0
    """For which a refused connection stays open, so that its client can read why."""
    lingering: int = 64
    """Refused connections that stay open at once; one more ends the oldest of them."""
    new_per_address: int = 1024
    """Connections of one address, also of a proxy, that have not completed their first head."""
    new_in_all: int = 8192
    per_address: int = 10_000
    """Connections of one address that is not a trusted proxy's. WebSockets do not count."""


class Expiring(Protocol):
    """A connection that has deadlines."""

    def expired(self, limit: str) -> None:
        """Called when the connection has exceeded the limit of this name."""
        ...


class Deadlines:
    """The connections that have to do something within so many seconds, oldest first."""

    def __init__(self, limit: str, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._due: dict[Expiring, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def start(self, connection: Expiring, now: float) -> None:
        """Begin a connection's time, if that does not run already."""
        if connection not in self._due:
            self._due[connection] = now + self._seconds

    def stop(self, connection: Expiring) -> None:
        """End a connection's time: it has done it, or it is gone."""
        self._due.pop(connection, None)

    def overdue(self, now: float) -> Iterator[Expiring]:
        """Take out the connections whose time is up."""
        # All have the same time and a dict keeps its order, so the first ones are the oldest.
        while self._due:
            connection = next(iter(self._due))
            if self._due[connection] > now:
                break
            # Before the owner acts on it, who may start the same deadline anew.
            del self._due[connection]
            yield connection

    def oldest(self) -> Expiring:
        """Take out the connection whose time is up first."""
        connection = next(iter(self._due))
        del self._due[connection]
        return connection


class _TurnQueue:
    """Calls that wait, of one address after the other (round robin), however many one of them has."""

    def __init__(self) -> None:
        self._by_address: dict[str, deque[Callable[[], object]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, address: str, waiting: Callable[[], object]) -> None:
        self._count += 1
        self._by_address.setdefault(address, deque()).append(waiting)

    def pop(self) -> Callable[[], object]:
        self._count -= 1
        address = next(iter(self._by_address))
        queue = self._by_address.pop(address)
        waiting = queue.popleft()
        if queue:
            # Inserted anew, and so behind the other addresses.
            self._by_address[address] = queue
        return waiting


class HttpGate:
    """The counts, the deadlines and the turns of one server's HTTP connections."""

    def __init__(self, limits: HttpLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.limits = limits
        self.clock = loop.time
        self.server: tuple[str, int | None] | None = None
        """The address that the server listens on, found out by the first connection."""
        self.heads = Deadlines("head_seconds", limits.head_seconds)
        self.bodies = Deadlines("body_seconds", limits.body_seconds)
        self.answers = Deadlines("answer_seconds", limits.answer_seconds)
        self.lingering = Deadlines("", limits.linger_seconds)
        self.unread = OutputBudget(
            limits.unread_bytes, largest=limits.body_bytes, call_soon=loop.call_soon,
            cut=HTTP_LIMITED.labels("unread_bytes").inc,
        )  # fmt: skip
        self._new: dict[str, int] = {}
        self._new_connections = Deadlines("new_in_all", 0.0)
        self._connections: dict[str, int] = {}
        self._loop = loop
        self._sweeping = False
        self._left = REQUESTS_PER_TURN
        self._unparsed = PARSED_PER_TURN
        self._turning = False
        self._waiting, self._parsers, self._refused = _TurnQueue(), _TurnQueue(), _TurnQueue()
        self._held: dict[Expiring, int] = {}
        self._held_bytes = 0

    # -- connections -----------------------------------------------------------------------------------------------

    def connected(self, connection: Expiring, address: str, *, proxy: bool) -> bool:
        """Count a connection until `disconnected`. Return False when its address has too many, this one included."""
        connections = self._connections[address] = self._connections.get(address, 0) + 1
        # Counted apart, and for proxies too: who only opens connections uses up what they are counted by, and nothing
        # else.
        new = self._new[address] = self._new.get(address, 0) + 1
        self._new_connections.start(connection, 0.0)
        self.heads.start(connection, self.clock())
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_SECONDS, self._sweep)
        if new > self.limits.new_per_address or (connections > self.limits.per_address and not proxy):
            return False
        if len(self._new_connections) > self.limits.new_in_all:
            # A client that wants something sends its request at once, so the oldest has the least to lose.
            self._expire(self._new_connections, self._new_connections.oldest())
        return True

    def first_head(self, connection: Expiring, address: str) -> None:
        """Count a connection as new no longer: it has completed its first head, or is gone."""
        self._new_connections.stop(connection)
        _subtract(self._new, address)

    def disconnected(self, connection: Expiring, address: str) -> None:
        """Count a connection no longer: it is gone, or has become a WebSocket."""
        _subtract(self._connections, address)
        for deadlines in (self.heads, self.bodies, self.answers, self.lingering):
            deadlines.stop(connection)
        self.holds(connection, 0)

    def holds(self, connection: Expiring, size: int) -> None:
        """Set how many bytes a connection makes the server hold. Too much in sum ends those that have held longest."""
        self._held_bytes += size - self._held.get(connection, 0)
        # To set a key again keeps its place in the dict, so the first has held something for longest.
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
        try:
            for deadlines in (self.heads, self.bodies, self.answers, self.lingering):
                for connection in deadlines.overdue(now):
                    self._expire(deadlines, connection)
        finally:
            # Also after a failure: without this no deadline would hold any more.
            self._sweeping = bool(self._connections)
            if self._sweeping:
                self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _expire(self, deadlines: Deadlines, connection: Expiring) -> None:
        if deadlines.limit:
            HTTP_LIMITED.labels(deadlines.limit).inc()
        connection.expired(deadlines.limit)

    # -- turns -----------------------------------------------------------------------------------------------------

    def begin(self, address: str, request: Callable[[], object]) -> bool:
        """Let a request begin, in this turn of the loop or in a later one. Return whether it has begun."""
        self._schedule()
        # Not past those that wait already.
        if self._left and not self._waiting:
            self._left -= 1
            request()
            return True
        self._waiting.append(address, request)
        return False

    @property
    def exhausted(self) -> bool:
        """Whether so much was parsed in this turn of the loop that everything else waits for the next."""
        return self._unparsed <= 0

    def parsed(self, size: int) -> None:
        """Count bytes outside of bodies that were parsed in this turn."""
        self._unparsed -= size
        self._schedule()

    def parse_later(self, address: str, parse: Callable[[], object]) -> None:
        """Have a connection parse on once the others have had their turn."""
        self._parsers.append(address, parse)
        self._schedule()

    def linger(self, connection: Expiring) -> None:
        """Let a refused connection stay open for a while, and end the oldest of them if there are too many."""
        self.lingering.start(connection, self.clock())
        if len(self.lingering) > self.limits.lingering:
            self._expire(self.lingering, self.lingering.oldest())

    def discard_later(self, address: str, discard: Callable[[], object]) -> None:
        """Have a refused connection throw away the next piece when it is its turn."""
        self._refused.append(address, discard)
        self._schedule()

    def _schedule(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Renew the allowances and serve what waits. Scheduled for as long as anything waits or was used."""
        self._turning = False
        self._left, self._unparsed = REQUESTS_PER_TURN, PARSED_PER_TURN
        waiting, parsers, refused = self._waiting, self._parsers, self._refused
        try:
            # The length of now: what is called may wait anew, and would be called for ever.
            for _ in range(min(len(refused), DISCARDS_PER_TURN)):
                refused.pop()()
            for _ in range(len(parsers)):
                if self.exhausted:
                    break
                parsers.pop()()
            while waiting and self._left:
                self._left -= 1
                waiting.pop()()
        finally:
            # Also after a turn in which nothing waited: what was used up in it has to be renewed.
            if waiting or parsers or refused or self._left < REQUESTS_PER_TURN or self._unparsed < PARSED_PER_TURN:
                self._schedule()


def _subtract(counts: dict[str, int], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
