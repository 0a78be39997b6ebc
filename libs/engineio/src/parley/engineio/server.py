"""The Engine.IO server: it owns the sessions, and tells the layer above what happens to them.

The layer above (`SessionEvents`) makes it: the gateway's `SocketIoServer`, or `python_socketio`. The transports
(`polling`, `websocket.protocol`) find it in the ASGI lifespan state, begin sessions in it or find them there. Sessions
report to it as their `SessionServer`.

It runs on one loop. Everything is a plain call, and a session may end within any of them; only heartbeats and draining
are tasks. Invariant: what fails in the layer above ends the session that it concerned, and no other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from typing import Protocol

from prometheus_client import Counter, Gauge

from parley.common.http.addresses import address_key
from parley.common.http.output_budget import OutputBudget, UnreadHolder
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.rate_limiter import RateLimiter
from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.metrics import LIMIT_HITS
from parley.engineio.packets import Packet
from parley.engineio.reading import InputBudget, ReadScheduler
from parley.engineio.request import (
    Refusal,
    TransportRequest,
    forbidden,
    jsonp_not_served,
    unknown_session,
    unsupported_revision,
)
from parley.engineio.session import NOTHING, RequestInfo, Session
from parley.engineio.timer_wheel import Timeout, TimerEntry, TimerWheel
from parley.engineio.transports import Limits
from parley.engineio.websocket.frames import GOING_AWAY
from parley.engineio.writes import SLICE, VOLATILE_DROPPED, WriteScheduler

log = get_logger(__name__)

SESSIONS = Gauge("parley_gateway_sessions", "Open Engine.IO sessions")
SESSIONS_CLOSED = Counter("parley_gateway_sessions_closed_total", "Engine.IO sessions that ended", ["reason"])
UNREAD = Gauge("parley_gateway_unread_bytes", "Bytes that slow clients leave unread")
SESSIONS_REFUSED = Counter("parley_gateway_sessions_refused_total", "Handshakes refused", ["reason"])

STATE_KEY = "engines"
"""The key in the ASGI lifespan state of the engines by path, without a slash at the end: a `dict[bytes, Engine]`."""
CLOSE_GRACE = 5.0
"""Seconds that a client has to read what was sent before a close, and to close its side."""
FAILURES_PER_SECOND = 1.0
"""Failures of the layer above that are logged per second: clients may be able to provoke them."""
FAILURES_BURST = 10
"""Failures of the layer above that may be logged at once, before the rate counts."""


class SessionEvents(Protocol):
    """The layer above, which is told what happens to sessions. Its methods must not block; their errors are logged."""

    def session_opened(self, session: Session) -> None:
        """Called when the client was greeted; from now on it may be sent packets."""
        ...

    def message_received(self, session: Session, data: str | bytes) -> None:
        """Called with each message of the client."""
        ...

    def session_ended(self, session: Session, reason: str) -> None:
        """Called once for each session that was opened, whatever ended it."""
        ...


class Engine:
    """The sessions by id, and what they share: limits, budget, timers, input and output."""

    def __init__(
        self,
        limits: Limits,
        events: SessionEvents,
        *,
        generate_id: Callable[[], str],
        revisions: Collection[int] = (4,),
        deflate: bool = False,
        allows_origin: Callable[[TransportRequest], bool] = lambda _request: True,
        exposed_headers: Collection[str] = (),
    ) -> None:
        self.limits = limits
        self.generate_id = generate_id
        self.revisions = frozenset(revisions)
        self.deflate = deflate
        self.allows_origin = allows_origin
        self._events = events
        self._exposed_headers = exposed_headers
        self.sessions: dict[str, Session] = {}
        self.draining = False
        self.refuses_address: Callable[[str], bool] = lambda _address: False
        """Whether no session may begin from an address; whoever owns the engine may set it."""
        self.budget = InputBudget(
            limits.max_input_memory, limits.max_unjoined_memory,
            largest=limits.max_payload, largest_unjoined=limits.max_unjoined,
        )  # fmt: skip
        self._addresses: dict[str, int] = {}
        self._farewells: dict[str, Session] = {}
        self._failures = RateLimiter(FAILURES_PER_SECOND, FAILURES_BURST)
        self._tasks = Tasks()
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.output = WriteScheduler(loop)
        self.input = ReadScheduler(loop)
        self.output_budget = OutputBudget(
            limits.max_output_memory, largest=limits.max_buffer, call_soon=loop.call_soon,
            cut=lambda: self.limited("output_memory"),
        )  # fmt: skip
        self.write_soon = self.output.write_soon
        self.broadcast = self.output.broadcast
        # A quarter of a second is exact enough for the protocol's defaults; tests have much shorter intervals.
        tick = min(0.25, limits.ping_interval / 25, limits.ping_timeout / 20)
        self._wheel = TimerWheel(tick, self.clock())
        self._tasks.forever(self._turn_wheel(), name="heartbeats")

    # -- sessions --------------------------------------------------------------------------------------------------

    def check(self, request: TransportRequest) -> None:
        """Raise `Refusal` for a request that may neither begin nor continue a session."""
        if request.revision not in self.revisions:
            raise unsupported_revision()
        if request.jsonp:
            raise jsonp_not_served()
        if request.origin is not None and not self.allows_origin(request):
            raise forbidden()

    def begin(self, request: TransportRequest) -> Session:
        """Make a new session, which the transport opens. Raises `Refusal` while draining, or for a busy address."""
        address = address_key(request.address)
        if self.refuses_address(request.address):
            raise self._refused("banned", forbidden("Connections from this address are banned"))
        if self.draining:
            raise self._refused("draining", forbidden("This server is going away; connect again", 503))
        if self._addresses.get(address, 0) >= self.limits.max_per_address:
            raise self._refused("address", forbidden("Too many connections from this address", 429))
        self._addresses[address] = self._addresses.get(address, 0) + 1
        session = Session(
            self, self.generate_id(), request.revision, self._origin(request), base64_only=request.base64_only
        )
        self.sessions[session.sid] = session
        SESSIONS.inc()
        # In revision 3 nothing is due that early; `on_due` then says when to be called again.
        self._wheel.add(session, self.clock() + self.limits.ping_interval)
        return session

    def _origin(self, request: TransportRequest) -> RequestInfo:
        headers = {name: request.headers[name] for name in self._exposed_headers if name in request.headers}
        # Most requests have neither, and one shared empty map saves memory for each idle session.
        return RequestInfo(request.address, request.query or NOTHING, headers or NOTHING, request.scheme == "https")

    @staticmethod
    def _refused(reason: str, refusal: Refusal) -> Refusal:
        SESSIONS_REFUSED.labels(reason).inc()
        return refusal

    def opened(self, session: Session) -> None:
        """Tell the layer above that a session was opened. The transport calls it right after `Session.open`."""
        try:
            self._events.session_opened(session)
        except Exception as error:  # noqa: BLE001 - as in `received`
            self._failed(session, error)

    def find(self, request: TransportRequest) -> Session:
        """Return the session that a request continues. Raises `Refusal`."""
        session = self.sessions.get(request.sid)
        # The heartbeat is looked at now, since the wheel may be late: a session past its time must not come back.
        if session is None or session.revision != request.revision or session.on_due(self.clock()) is None:
            raise unknown_session()
        return session

    def farewell(self, sid: str) -> list[Packet]:
        """Return the packets for the next poll of a session that was closed; empty when there are none left."""
        session = self._farewells.get(sid)
        if session is None:
            return []
        answer = session.farewell()
        if not session.has_farewell:
            del self._farewells[sid]
        return answer

    def call_later(self, seconds: float, then: Callable[[], object]) -> TimerEntry:
        """Call back after so many seconds, rounded up to the wheel's tick. `cancel` takes the returned entry."""
        entry = Timeout(then)
        self._wheel.add(entry, self.clock() + seconds)
        return entry

    def cancel(self, entry: TimerEntry) -> None:
        """Cancel an entry of `call_later`. To do it twice, or too late, is harmless."""
        self._wheel.remove(entry)

    # -- what sessions and sockets report --------------------------------------------------------------------------

    def received(self, session: Session, data: str | bytes) -> None:
        """Hand a client's message to the layer above."""
        try:
            self._events.message_received(session, data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this session alone
            self._failed(session, error)

    def ended(self, session: Session, reason: str) -> None:
        """Remove a session that is over, and tell the layer above."""
        # All counts are given back before the layer above is told, which may fail, or begin another session.
        del self.sessions[session.sid]
        self._wheel.remove(session)
        self.budget.give_back(session, session.held)
        address = session.address
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        SESSIONS.dec()
        SESSIONS_CLOSED.labels(reason).inc()
        # Its last packets wait for one more poll, for as long as a WebSocket has to close.
        if session.has_farewell:
            self._farewells[session.sid] = session
            self.call_later(CLOSE_GRACE, lambda: self._drop_farewell(session))
        if session.opened:
            try:
                self._events.session_ended(session, reason)
            except Exception as error:  # noqa: BLE001 - as in `received`
                self._failed(session, error)

    def _drop_farewell(self, session: Session) -> None:
        if self._farewells.pop(session.sid, None) is not None:
            session.cut_off()

    def unread(self, session: Session, size: int) -> None:
        """Count what a polling client leaves unread."""
        self.leaves_unread(session, session.address, size)

    def leaves_unread(self, holder: UnreadHolder, address: str, size: int) -> None:
        """Count the bytes that wait for a client of this address, in place of those before."""
        self.output_budget.count(holder, address, size)
        UNREAD.set(self.output_budget.held)

    def dropped(self) -> None:
        """Count a volatile packet that was not sent to a slow client."""
        VOLATILE_DROPPED.inc()

    def limited(self, limit: str) -> None:
        """Count a session or a request that is refused or ended because of this limit."""
        LIMIT_HITS.labels(limit).inc()

    def joining(self, session: Session) -> None:
        """Count a session's bytes with those of joined sessions from now on."""
        self.budget.joining(session)

    def _failed(self, session: Session, error: Exception) -> None:
        if self._failures.take("", self.clock()):
            log.error("the layer above failed", sid=session.sid, exc_info=error)
        session.fail(DisconnectReason.INTERNAL)

    # -- time ------------------------------------------------------------------------------------------------------

    async def _turn_wheel(self) -> None:
        """Turn the wheel, for ever: heartbeats and timeouts that are due."""
        while True:
            await asyncio.sleep(self._wheel.tick)
            now = self.clock()
            # After a stall thousands are due at once, so others have their turn in between. Who ends meanwhile is not
            # added again, because `on_due` returns None.
            for number, beating in enumerate(self._wheel.due(now), start=1):
                if (again := beating.on_due(now)) is not None:
                    self._wheel.add(beating, again)
                if number % SLICE == 0:
                    await asyncio.sleep(0)

    async def drain(self, seconds: float) -> None:
        """Refuse new sessions, and close the present ones one after the other within so many seconds.

        They are spread, and shuffled, so that their clients do not all connect elsewhere at once.
        """
        self.draining = True
        began = self.clock()
        sessions = list(self.sessions.values())
        random.shuffle(sessions)
        for number, session in enumerate(sessions, start=1):
            wait = began + seconds * number / len(sessions) - self.clock()
            if wait > 0 or number % SLICE == 0:
                await asyncio.sleep(max(0.0, wait))
            session.close(DisconnectReason.SHUTDOWN, GOING_AWAY)

    async def shutdown(self) -> None:
        """Close all sessions, wait until everything is written, and stop the heartbeats."""
        for session in list(self.sessions.values()):
            session.close(DisconnectReason.SHUTDOWN, GOING_AWAY)
        await self.output.drained()
        await self._tasks.close()
