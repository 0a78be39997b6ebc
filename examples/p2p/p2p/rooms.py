"""Which rooms are closed, known to every replica of the service.

A replica tells the others of every change, and a new one asks them for all. Nothing is stored: when the last replica
ends, every room is open again. Of two changes of one room the later counts, by the clocks of the replicas.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from parley.framework import Bus, Code, Reject, Runtime

CHANGES = "p2p.rooms"
"""Where replicas publish changes, and all they know to who asks."""
QUESTIONS = "p2p.rooms.ask"
MAX_CHANGED = 1000
"""Rooms of which it is remembered that they were closed or opened."""


class Change(msgspec.Struct, frozen=True, array_like=True):
    """What was done with a room last."""

    at: float
    closed: bool


_changes = msgspec.json.Decoder(dict[str, Change])


class Rooms:
    """Every room is open until it is closed. Without a bus nobody else is told."""

    def __init__(self, bus: Bus | None = None) -> None:
        self._bus = bus
        self._changed: dict[str, Change] = {}

    @classmethod
    @asynccontextmanager
    async def shared(cls, runtime: Runtime) -> AsyncGenerator[Rooms]:
        """Rooms that all replicas know of."""
        bus, tasks = runtime.bus, runtime.tasks
        rooms = cls(bus)
        listeners = (
            # Without a queue: a change arrives before the answer to whatever is asked after it was published.
            bus.listen(CHANGES, rooms.learn),
            bus.listen(QUESTIONS, lambda _: tasks.spawn(rooms.tell(), "telling of rooms")),
        )
        # What was published while the connection was away was missed.
        bus.on_reconnect(lambda: tasks.spawn(rooms.ask(), "asking for rooms"))
        await rooms.ask()
        yield rooms
        for listener in listeners:
            listener.close()

    def is_closed(self, room: str) -> bool:
        """Whether nobody may be in it."""
        return room in self._changed and self._changed[room].closed

    async def change(self, room: str, *, closed: bool) -> None:
        """Close or open a room. Raises `Reject` when too many are closed, or the others cannot be told."""
        if room not in self._changed:
            self._make_place()
        # A clock may have been set back.
        at = max(time.time(), self._changed[room].at + 0.001 if room in self._changed else 0)
        change = Change(at, closed)
        self._changed[room] = change
        await self._publish(CHANGES, msgspec.json.encode({room: change}))

    def learn(self, data: bytes) -> None:
        """Take in what another replica, or this one, published."""
        for room, change in _changes.decode(data).items():
            known = self._changed.get(room)
            if known is None or known.at < change.at:
                self._changed[room] = change

    async def tell(self) -> None:
        """Tell the others all that is known."""
        if self._changed:
            await self._publish(CHANGES, msgspec.json.encode(self._changed))

    async def ask(self) -> None:
        """Have the others tell all that they know."""
        await self._publish(QUESTIONS, b"")

    async def _publish(self, subject: str, data: bytes) -> None:
        if self._bus is not None:
            await self._bus.publish(subject, data)

    def _make_place(self) -> None:
        if len(self._changed) < MAX_CHANGED:
            return
        opened = [room for room, change in self._changed.items() if not change.closed]
        if not opened:
            raise Reject(Code.LIMIT_EXCEEDED, f"{MAX_CHANGED} rooms are closed; open some.")
        del self._changed[min(opened, key=lambda room: self._changed[room].at)]
