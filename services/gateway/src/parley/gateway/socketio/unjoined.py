"""The transports that have joined no namespace yet, or not again, and when each has had its time for that."""

from __future__ import annotations

from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.server import Engine
from parley.engineio.session import Session
from parley.engineio.websocket.frames import NORMAL
from parley.gateway.connections.connection import Connection
from parley.gateway.socketio.client import Client

CLOSED_AT_ONCE = 256
"""Transports that one turn of the loop closes because they joined no namespace in time."""


class UnjoinedSessions:
    """Closes sessions that are in no namespace when the time for joining one is over."""

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._until: dict[Session, float] = {}
        """Until when sessions must have joined, in that order. Some are still in another namespace than they left."""
        self._watching = False

    def add(self, session: Session) -> None:
        """Begin a session's time, or begin it anew."""
        if not session.over:
            # Out and in again, which puts it last. All wait equally long, so the dict has the order of the times.
            self._until.pop(session, None)
            self._until[session] = self._engine.clock() + self._seconds
            self._watch()

    def discard(self, session: Session) -> None:
        """Note that a session has joined a namespace, or is over. Doing it twice is harmless."""
        self._until.pop(session, None)

    def _watch(self) -> None:
        if self._until and not self._watching:
            self._watching = True
            first = next(iter(self._until.values()))
            self._engine.call_later(max(0.0, first - self._engine.clock()), self._end)

    def _end(self) -> None:
        now = self._engine.clock()
        for _ in range(CLOSED_AT_ONCE):
            session, until = next(iter(self._until.items()), (None, 0.0))
            if session is None or until > now:
                break
            del self._until[session]
            client: Client = session.client
            # One that is still attempting has had its time as well: whoever is let in so late comes back by itself.
            if not any(isinstance(found, Connection) for found in client.namespaces.values()):
                session.close(DisconnectReason.CONNECT_TIMEOUT, NORMAL)
        self._watching = False
        self._watch()
