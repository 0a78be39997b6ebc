"""What is written, and when: once per socket and tick, and never so much at once that others wait.

What a tick of the loop sends to one WebSocket is one write at its end. A packet for very many sockets is written in
slices, between which everything else gets its turn, and so are sockets dealt with that were lost all at once.
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
"""Sockets written, or sessions closed or pinged, before the loop gets its turn."""
LOST_SLICE = 64
"""Lost sockets dealt with before the loop gets its turn: more are being lost meanwhile."""


class PendingOutput(Protocol):
    """Something with pending output."""

    def write(self) -> None:
        """Write it."""
        ...


class LostSocket(Protocol):
    """A WebSocket whose client is gone."""

    def close_lost(self, reason: str) -> None:
        """End its session, and the transport if that is still there."""
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
        """Have it write at the end of this tick. Sessions and WebSockets both use it."""
        self._dirty.append(session)
        if not self._writing:
            self._schedule()

    def broadcast(self, sessions: Collection[Session], packet: Packet, *, volatile: bool = False) -> None:
        """Send one packet to many sessions."""
        frames = packet.frames()
        bulk = len(sessions) > SLICE
        queue = self._bulk if bulk else self._dirty
        for session in sessions:
            socket: Any = session.socket
            if socket is None or not socket.plain:
                session.send(packet, volatile=volatile)
            elif volatile and socket.choked:
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
        """A WebSocket is gone. Thousands may go at once.

        `closing` is what the loop closes as soon as this returns. Half of what that costs is the kernel's part, which
        comes with the last descriptor of a socket: where many go at once, a second one puts it off until it is the
        socket's turn.
        """
        many = len(self._lost) >= LOST_SLICE
        self._lost.append((socket, reason, _second_descriptor(closing) if closing is not None and many else None))
        if not many:
            self._schedule()

    async def drained(self) -> None:
        """Wait until nothing is pending."""
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
            self._writing = False
            if self._dirty or self._bulk or self._lost:
                self._schedule()

    def _write_slice(self) -> None:
        dirty, bulk, lost = self._dirty, self._bulk, self._lost
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
    except OSError:  # there are no more of them
        return None
