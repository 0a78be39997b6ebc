"""One client, between the engine, which never waits, and the app's handlers, which may.

The engine's reports on a session (connect, messages, disconnect) go into an inbox. A task works them off in order, and
exists only while there is something in the inbox. Messages become events, each of which is handled by a task; at most
`MAX_HANDLERS` of a client run at once, and further events wait. Acks behind them are taken all the same, since handlers
may be waiting for those.

Invariant: the bytes of whatever waits here are counted in the engine's input budget.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.reading import SMALL_HOLDING_BYTES
from parley.engineio.session import Session
from parley.engineio.timer_wheel import TimerEntry

if TYPE_CHECKING:
    from parley.engineio.python_socketio.engine_server import EngineServer

MAX_HANDLERS = 100
"""Events of one client that are handled at once."""
EVENT_COST = 256
"""Bytes that a waiting event counts for besides its own."""

Work = Callable[[], Coroutine[Any, Any, None]]


class EngineClient:
    """A client, with the attributes that python-engineio's users know: `sid`, `session`, `upgraded` and `closed`."""

    __slots__ = (
        "_attached", "_held", "_inbox", "_running", "_server", "_size", "_waiting", "_waiting_size",
        "closed", "engine_session", "environ", "session", "sid", "timeout", "worker",
    )  # fmt: skip

    def __init__(self, server: EngineServer, engine_session: Session, environ: dict[str, Any]) -> None:
        self.sid = engine_session.sid
        self.session: dict[str, Any] = {}
        self.engine_session = engine_session
        self.environ = environ
        self.closed = False
        """Whether the app's disconnect handler has run."""
        self.timeout: TimerEntry | None = None
        """The timer by which the client must have joined a namespace."""
        self.worker: asyncio.Task[None] | None = None
        """The task that works off the inbox, while there is something in it."""
        self._server = server
        self._inbox: deque[tuple[str, Any, int]] = deque()
        self._size = 0
        """The bytes of the Socket.IO packet that is being received, with the attachments that have come."""
        self._attached = 0
        self._running = 0
        self._waiting: deque[tuple[Work, int]] = deque()
        self._waiting_size = 0
        self._held = 0

    @property
    def upgraded(self) -> bool:
        """Whether the client is on a WebSocket."""
        return self.engine_session.socket is not None

    @property
    def connected(self) -> bool:
        """Whether the session is not over, so that the client may be sent packets."""
        return not self.engine_session.over

    # -- what the engine reports -----------------------------------------------------------------------------------

    def report(self, event: str, argument: Any, size: int = 0) -> None:
        """Put a report into the inbox. `size` are the bytes of its argument."""
        self._inbox.append((event, argument, size))
        if size:
            self._hold(size + EVENT_COST)
        if self.worker is None:
            self.worker = self._server.keep(self._work())

    def ended(self, reason: str) -> None:
        """Report that the session is over."""
        # The last events are still handled, unless there are many: those of a client that was ended for its size.
        if self._waiting_size > SMALL_HOLDING_BYTES:
            self._inbox.clear()
            self._waiting.clear()
        self.report("disconnect", reason)

    async def _work(self) -> None:
        server, inbox = self._server, self._inbox
        try:
            while inbox:
                event, argument, size = inbox.popleft()
                self._size += size
                await server.tell(event, self.sid, argument)
                if size:
                    self._hold(-size - EVENT_COST)
        finally:
            self.worker = None

    # -- events ----------------------------------------------------------------------------------------------------

    def message_whole(self) -> int:
        """Return the bytes of the packet that is complete now, attachments included, and begin to count the next."""
        size, self._size = self._size, 0
        return size

    def hold_attachment(self, size: int) -> None:
        """Count an attachment of a packet that is not complete."""
        self._attached += size + EVENT_COST
        self._hold(size + EVENT_COST)

    def drop_attachments(self) -> None:
        """Count the attachments of a packet no longer, because it is complete."""
        attached, self._attached = self._attached, 0
        self._hold(-attached)

    def handle(self, work: Work, size: int) -> None:
        """Handle an event at once, or when fewer than `MAX_HANDLERS` are being handled."""
        if self._running < MAX_HANDLERS:
            self._start(work)
        else:
            self._waiting.append((work, size))
            self._hold(size + EVENT_COST)

    def _start(self, work: Work) -> None:
        self._running += 1
        self._server.keep(work()).add_done_callback(self._handled)

    def _handled(self, _task: asyncio.Task[None]) -> None:
        self._running -= 1
        if self._waiting:
            work, size = self._waiting.popleft()
            self._hold(-size - EVENT_COST)
            self._start(work)

    def _hold(self, change: int) -> None:
        """Change the number of bytes that wait here, and tell the budget of it. Too much ends the session."""
        self._waiting_size += change
        session, engine = self.engine_session, self._server.engine
        # A session that is over has given back everything.
        if session.over:
            return
        held = engine.budget.hold(session, self._waiting_size, self._held)
        if held is None:
            engine.limited("input_memory")
            session.fail(DisconnectReason.OVERLOADED)
        else:
            self._held = held

    # -- python-engineio's ------------------------------------------------------------------------------------------

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:  # noqa: ARG002 - python-engineio's
        """End the session once everything that was sent has been written or, with `abort`, at once."""
        why = reason or DisconnectReason.SERVER_DISCONNECT
        if abort:
            self.engine_session.fail(why)
        else:
            self.engine_session.close(why)
