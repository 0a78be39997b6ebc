"""Schedules the writes of an engine: each socket is written once per turn of the loop, and large broadcasts in slices.

- Everything that a turn of the loop sends to one WebSocket is one write at its end.
- A broadcast to more than `SLICE` sockets is encoded once and written in slices, between which the loop has its turns.
- When thousands of sockets are lost at once, they are dealt with in slices as well.

Order is kept: a packet to a socket that waits in a broadcast is appended to what waits there.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Collection
from typing import Any, Protocol

from prometheus_client import Counter

from parley.engineio.packets import Packet
from parley.engineio.session import Session

VOLATILE_DROPPED = Counter("parley_gateway_volatile_dropped_total", "Volatile packets not sent to slow clients")

SLICE = 256
"""Sockets that are written, or sessions that are closed or pinged, before the loop has its turn."""
LOST_SLICE = 64
"""Lost sockets that are dealt with before the loop has its turn; one costs more than a write."""


class PendingOutput(Protocol):
    """A session or a WebSocket with pending output."""

    def write(self) -> None:
        """Write what is pending."""
        ...


class LostSocket(Protocol):
    """A WebSocket whose client is gone. `websocket.protocol` imports this module, so it cannot be imported here."""

    def close_lost(self, reason: str) -> None:
        """End its session, and its transport if that is still there."""
        ...


class WriteScheduler:
    """The pending writes of one engine."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: deque[PendingOutput] = deque()
        self._bulk: deque[PendingOutput] = deque()
        self._lost: deque[tuple[LostSocket, str, int | None]] = deque()
        self._writing = False

    def write_soon(self, session: PendingOutput) -> None:
        """Have a session or a WebSocket write at the end of this turn of the loop."""
        self._dirty.append(session)
        if not self._writing:
            self._schedule()

    def broadcast(self, sessions: Collection[Session], packet: Packet, *, volatile: bool = False) -> None:
        """Send one packet to many sessions. It does what `Session.send` does for each, but in one loop, for speed."""
        # Pending frames are written here for the most common kind of socket: a call per receiver would double the cost.
        frames = packet.frames()
        packet.receivers = len(sessions) or 1
        bulk = len(sessions) > SLICE
        queue = self._bulk if bulk else self._dirty
        for session in sessions:
            socket: Any = session.socket
            if socket is None or not socket.shares_frames:
                session.send(packet, volatile=volatile)
            elif volatile and socket.congested:
                VOLATILE_DROPPED.inc()
            elif (pending := socket.pending) is None:
                socket.pending = frames
                socket.bulk = bulk
                queue.append(socket)
            elif pending.__class__ is list:
                pending.append(frames)
            else:
                socket.pending = [pending, frames]
        self._schedule()

    def lost(self, socket: LostSocket, reason: str, closing: asyncio.Transport | None = None) -> None:
        """Deal with a WebSocket whose client is gone, when it is its turn: thousands may go at once.

        `closing` is a transport that the loop closes as soon as this returns. Half of the cost of that is the kernel's,
        and arises when the last descriptor of a socket is closed. So when many are lost at once, a second descriptor
        puts it off until it is the socket's turn.
        """
        many = len(self._lost) >= LOST_SLICE
        self._lost.append((socket, reason, _second_descriptor(closing) if closing is not None and many else None))
        if not many:
            self._schedule()

    async def drained(self) -> None:
        """Wait until everything is written."""
        while self._writing:  # noqa: ASYNC110 - a few ticks, at the very end
            await asyncio.sleep(0)

    def _schedule(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        try:
            self._write_slice()
        finally:
            # Also when a write has raised: otherwise nothing would be written ever again.
            self._writing = False
            if self._dirty or self._bulk or self._lost:
                self._schedule()

    def _write_slice(self) -> None:
        dirty, bulk, lost = self._dirty, self._bulk, self._lost
        # As many as there are now. What these writes lead to waits for the next turn of the loop.
        for _ in range(len(dirty)):
            dirty.popleft().write()
        for _ in range(min(len(bulk), SLICE)):
            bulk.popleft().write()
        for _ in range(min(len(lost), LOST_SLICE)):
            socket, reason, descriptor = lost.popleft()
            if descriptor is not None:
                os.close(descriptor)
            socket.close_lost(reason)


def _second_descriptor(transport: asyncio.Transport) -> int | None:
    try:
        return os.dup(transport.get_extra_info("socket").fileno())
    except OSError:  # no more files may be opened
        return None
