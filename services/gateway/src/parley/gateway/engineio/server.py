"""The Engine.IO server: it owns the sessions and their heartbeats, and calls the layer above.

`socketio.AsyncServer` takes it in place of python-engineio's.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from prometheus_client import Counter, Gauge

from parley.common.logs import get_logger
from parley.common.tasks import Tasks
from parley.gateway.engineio.packets import Packet, Part
from parley.gateway.engineio.request import Refusal, Request, forbidden, unknown_session, unsupported_revision
from parley.gateway.engineio.session import NOTHING, TRANSPORT_ERROR, Limits, RequestInfo, Session
from parley.gateway.engineio.timer_wheel import TimerWheel
from parley.gateway.engineio.websocket.frames import BINARY, GOING_AWAY
from parley.gateway.engineio.writes import SLICE, VOLATILE_DROPPED, WriteScheduler

log = get_logger(__name__)

SESSIONS = Gauge("parley_gateway_sessions", "Open Engine.IO sessions")
SESSIONS_CLOSED = Counter("parley_gateway_sessions_closed_total", "Engine.IO sessions that ended", ["reason"])
SESSIONS_REFUSED = Counter("parley_gateway_sessions_refused_total", "Handshakes refused", ["reason"])

STATE_KEY = "engines"
"""Where the ASGI lifespan state holds the engines by their paths, without a slash at the end: `dict[bytes, Engine]`."""
CLOSE_GRACE = 5.0
"""Seconds a closing client has to take what was sent before, and to close its side."""
MAX_UNHEARD = 128
"""Messages that may wait while an earlier one of the same session is being handled."""

Handler = Callable[..., Awaitable[None] | None]


class _Once:
    """A callback on the wheel."""

    __slots__ = ("_then",)

    def __init__(self, then: Callable[[], object]) -> None:
        self._then = then

    def beat(self, now: float) -> float | None:  # noqa: ARG002 - see `Beating`
        self._then()
        return None


class Engine:
    """Sessions by id, and the interface that `socketio.AsyncServer` expects."""

    async_mode = "asgi"

    def __init__(
        self,
        limits: Limits,
        *,
        generate_id: Callable[[], str],
        revisions: Collection[int] = (4,),
        deflate: bool = False,
        allows_origin: Callable[[Request], bool] = lambda _request: True,
        kept_headers: Collection[str] = (),
    ) -> None:
        self.limits = limits
        self.generate_id = generate_id
        self.revisions = frozenset(revisions)
        self.deflate = deflate
        self.allows_origin = allows_origin
        self._kept_headers = kept_headers
        self.sessions: dict[str, Session] = {}
        self.draining = False
        self._handlers: dict[str, Handler] = {}
        self._addresses: dict[str, int] = {}
        self._unheard: dict[Session, deque[str | bytes]] = {}
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
        self._call("connect", session, session.sid, session)

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

    def expire(self, seconds: float, then: Callable[[], object]) -> None:
        """Call back after so many seconds, rounded up to the wheel's tick."""
        self._wheel.add(_Once(then), self.clock() + seconds)

    # -- what sessions and sockets report --------------------------------------------------------------------------

    def received(self, session: Session, data: str | bytes) -> None:
        """See `session.Owner`."""
        if session in self._unheard:
            self._wait(session, data)
        else:
            self._call("message", session, session.sid, data)

    def ended(self, session: Session, reason: str) -> None:
        """See `session.Owner`."""
        del self.sessions[session.sid]
        self._unheard.pop(session, None)
        address = session.origin.address
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        SESSIONS.dec()
        SESSIONS_CLOSED.labels(reason).inc()
        if session.has_farewell:
            self._farewells[session.sid] = session
            self.expire(CLOSE_GRACE, lambda: self._farewells.pop(session.sid, None))
        self._call("disconnect", session, session.sid, reason)

    def dropped(self) -> None:
        """See `session.Owner`."""
        VOLATILE_DROPPED.inc()

    # -- handlers --------------------------------------------------------------------------------------------------

    def _call(self, event: str, session: Session, *arguments: Any) -> None:
        try:
            result = self._handlers[event](*arguments)
        except Exception:
            log.exception("handler failed", handler=event)
            session.end(TRANSPORT_ERROR)
            return
        if result is not None:
            if not session.over:
                self._unheard[session] = deque()
            self._tasks.spawn(self._finish(session, result), name=event)

    async def _finish(self, session: Session, result: Awaitable[None] | None) -> None:
        """Await a handler; what the session sends meanwhile waits, so that its order is kept."""
        try:
            while True:
                if result is not None:
                    await result
                waiting = self._unheard.get(session)
                if not waiting:
                    break
                result = self._handlers["message"](session.sid, waiting.popleft())
        except Exception:
            log.exception("handler failed")
            session.end(TRANSPORT_ERROR)
        finally:
            self._unheard.pop(session, None)

    def _wait(self, session: Session, data: str | bytes) -> None:
        waiting = self._unheard[session]
        waiting.append(data)
        if len(waiting) > MAX_UNHEARD or sum(map(len, waiting)) > self.limits.max_payload:
            session.end("overloaded")

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

    # -- what socketio.AsyncServer expects -------------------------------------------------------------------------

    def on(self, event: str, handler: Handler) -> None:
        """Set the handler of `connect`, `message` or `disconnect`; it may be a coroutine function."""
        self._handlers[event] = handler

    async def send(self, sid: str, data: str | bytes) -> None:
        """Send a message."""
        if (session := self.sessions.get(sid)) is not None:
            session.send(Packet.of(b"4" + data.encode()) if isinstance(data, str) else Packet(Part(BINARY, data)))

    async def disconnect(self, sid: str) -> None:
        """Close a session."""
        if (session := self.sessions.get(sid)) is not None:
            session.close("forced close")

    def transport(self, sid: str) -> str:
        """`polling` or `websocket`."""
        return "polling" if self.sessions[sid].socket is None else "websocket"

    def start_background_task(self, target: Callable[..., Any], *arguments: Any, **options: Any) -> asyncio.Task[Any]:
        """Run a coroutine function in the background."""
        return asyncio.ensure_future(target(*arguments, **options))

    async def sleep(self, seconds: float = 0) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)

    def create_event(self) -> asyncio.Event:
        """A new event."""
        return asyncio.Event()

    async def shutdown(self) -> None:
        """End what still runs."""
        for session in list(self.sessions.values()):
            session.close("shutdown", GOING_AWAY)
        await self.output.drained()
        await self._tasks.close()
