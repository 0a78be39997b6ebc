"""The Engine.IO server: it owns the sessions and their heartbeats, and calls the layer above."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from typing import Protocol

from prometheus_client import Counter, Gauge

from parley.common.logs import get_logger
from parley.common.tasks import Tasks
from parley.gateway.engineio.packets import Packet
from parley.gateway.engineio.request import Refusal, Request, forbidden, unknown_session, unsupported_revision
from parley.gateway.engineio.session import NOTHING, Limits, RequestInfo, Session
from parley.gateway.engineio.timer_wheel import TimerWheel
from parley.gateway.engineio.websocket.frames import GOING_AWAY
from parley.gateway.engineio.writes import SLICE, VOLATILE_DROPPED, WriteScheduler

log = get_logger(__name__)

SESSIONS = Gauge("parley_gateway_sessions", "Open Engine.IO sessions")
SESSIONS_CLOSED = Counter("parley_gateway_sessions_closed_total", "Engine.IO sessions that ended", ["reason"])
SESSIONS_REFUSED = Counter("parley_gateway_sessions_refused_total", "Handshakes refused", ["reason"])

STATE_KEY = "engines"
"""Where the ASGI lifespan state holds the engines by their paths, without a slash at the end: `dict[bytes, Engine]`."""
CLOSE_GRACE = 5.0
"""Seconds a closing client has to take what was sent before, and to close its side."""
MAX_HELD = 256 * 1024 * 1024
"""Bytes of what clients sent that may be held at a time, for all sessions together."""


class SessionEvents(Protocol):
    """The layer above: what the engine tells it, synchronously and in order."""

    def session_opened(self, session: Session) -> None:
        """A session was greeted."""
        ...

    def message_received(self, session: Session, data: str | bytes) -> None:
        """A client sent a message."""
        ...

    def session_ended(self, session: Session, reason: str) -> None:
        """A session is over; called once."""
        ...


class InputBudget:
    """The bytes held, for all sessions, of what clients sent and nobody has taken yet."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def take(self, session: Session, size: int) -> bool:
        """Hold so many bytes more. False when there is no room, and the session is ended."""
        if self._held + size > self._limit:
            session.end("overloaded")
            return False
        self._held += size
        return True

    def give_back(self, session: Session, size: int) -> None:  # noqa: ARG002
        """They are not held any more."""
        self._held -= size


class _Once:
    """A callback on the wheel."""

    __slots__ = ("_then",)

    def __init__(self, then: Callable[[], object]) -> None:
        self._then = then

    def beat(self, now: float) -> float | None:  # noqa: ARG002 - see `Beating`
        self._then()
        return None


class Engine:
    """Sessions by id."""

    def __init__(
        self,
        limits: Limits,
        events: SessionEvents,
        *,
        generate_id: Callable[[], str],
        revisions: Collection[int] = (4,),
        deflate: bool = False,
        allows_origin: Callable[[Request], bool] = lambda _request: True,
        kept_headers: Collection[str] = (),
    ) -> None:
        self.limits = limits
        self.budget = InputBudget(MAX_HELD)
        self._events = events
        self.generate_id = generate_id
        self.revisions = frozenset(revisions)
        self.deflate = deflate
        self.allows_origin = allows_origin
        self._kept_headers = kept_headers
        self.sessions: dict[str, Session] = {}
        self.draining = False
        self._addresses: dict[str, int] = {}
        self._farewells: dict[str, Session] = {}
        self._tasks = Tasks()
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.output = WriteScheduler(loop)
        self.write_soon = self.output.write_soon
        self.broadcast = self.output.broadcast
        tick = min(0.25, limits.ping_interval / 25, limits.ping_timeout / 20)
        self._wheel = TimerWheel(tick, self.clock())
        self._tasks.forever(self._beat(), name="heartbeats")

    # -- sessions --------------------------------------------------------------------------------------------------

    def check(self, request: Request) -> None:
        """Raises `Refusal` for a request that may neither begin nor continue a session."""
        if request.revision not in self.revisions:
            raise unsupported_revision()
        if request.origin is not None and not self.allows_origin(request):
            raise forbidden()

    def begin(self, request: Request) -> Session:
        """A new session, not greeted yet. Raises `Refusal`."""
        address = request.address
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
        self._wheel.add(session, self.clock() + self.limits.ping_interval)
        return session

    def _origin(self, request: Request) -> RequestInfo:
        headers = {name: request.headers[name] for name in self._kept_headers if name in request.headers}
        # The empty ones are shared: most connections have nothing to remember.
        return RequestInfo(
            request.address, request.query or NOTHING, headers or NOTHING, request.scheme in {"https", "wss"}
        )

    @staticmethod
    def _refused(reason: str, refusal: Refusal) -> Refusal:
        SESSIONS_REFUSED.labels(reason).inc()
        return refusal

    def opened(self, session: Session) -> None:
        """The session was greeted."""
        self._events.session_opened(session)

    def find(self, request: Request) -> Session:
        """The session that a request continues. Raises `Refusal`."""
        session = self.sessions.get(request.sid)
        if session is None or session.revision != request.revision:
            raise unknown_session()
        if session.beat(self.clock()) is None:
            raise unknown_session()
        return session

    def farewell(self, sid: str) -> list[Packet]:
        """What a polling client was to be told when its session was closed; once."""
        session = self._farewells.pop(sid, None)
        return session.farewell() if session is not None else []

    def call_later(self, seconds: float, then: Callable[[], object]) -> None:
        """Call back after so many seconds, rounded up to the wheel's tick."""
        self._wheel.add(_Once(then), self.clock() + seconds)

    # -- what sessions and sockets report --------------------------------------------------------------------------

    def received(self, session: Session, data: str | bytes) -> None:
        """See `session.Owner`."""
        try:
            self._events.message_received(session, data)
        except Exception:
            log.exception("message failed", sid=session.sid)
            session.end("internal")

    def ended(self, session: Session, reason: str) -> None:
        """See `session.Owner`."""
        del self.sessions[session.sid]
        address = session.origin.address
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        SESSIONS.dec()
        SESSIONS_CLOSED.labels(reason).inc()
        if session.has_farewell:
            self._farewells[session.sid] = session
            self.call_later(CLOSE_GRACE, lambda: self._farewells.pop(session.sid, None))
        self._events.session_ended(session, reason)

    def dropped(self) -> None:
        """See `session.Owner`."""
        VOLATILE_DROPPED.inc()

    # -- time ------------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._wheel.tick)
            now = self.clock()
            for number, beating in enumerate(self._wheel.due(now), start=1):
                if (again := beating.beat(now)) is not None:
                    self._wheel.add(beating, again)
                if number % SLICE == 0:
                    await asyncio.sleep(0)

    async def drain(self, seconds: float) -> None:
        """Take no new sessions and close the present ones, spread at random over so many seconds."""
        self.draining = True
        began = self.clock()
        sessions = list(self.sessions.values())
        random.shuffle(sessions)
        for number, session in enumerate(sessions, start=1):
            wait = began + seconds * number / len(sessions) - self.clock()
            if wait > 0 or number % SLICE == 0:
                await asyncio.sleep(max(0.0, wait))
            session.close("shutdown", GOING_AWAY)

    async def shutdown(self) -> None:
        """End what still runs."""
        for session in list(self.sessions.values()):
            session.close("shutdown", GOING_AWAY)
        await self.output.drained()
        await self._tasks.close()
