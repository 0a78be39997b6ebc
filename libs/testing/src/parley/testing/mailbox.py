"""What a connection of a test has received, and how it answers: the same for fake and real ones."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple


class ReceivedEvent(NamedTuple):
    """An event that arrived, with its arguments; `bytes` where they hold binary data."""

    event: str
    args: list[Any]


class Mailbox:
    """The events that one connection received, in order."""

    def __init__(self) -> None:
        self.received: list[ReceivedEvent] = []
        """Everything that arrived so far."""
        self._untaken: list[ReceivedEvent] = []
        self._answers: dict[str, tuple[Any, ...]] = {}
        self._changed = asyncio.Event()
        self._gone = asyncio.Event()

    def answers(self, event: str, value: Any = None) -> None:
        """From now on acknowledge an event with this value: None is an empty ack, a tuple one with several arguments.

        An event that nothing was set for is not acknowledged.
        """
        self._answers[event] = () if value is None else value if isinstance(value, tuple) else (value,)

    async def event(self, event: str, *, timeout: float = 5.0) -> list[Any]:
        """Take the next event of this name that was not taken yet, and return its arguments; wait for it if need be.

        Raises `AssertionError` when there is none within so many seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for received in self._untaken:
                        if received.event == event:
                            self._untaken.remove(received)
                            return received.args
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {event!r} arrived in {timeout:g} s, only {self._untaken}") from None

    async def disconnected(self, *, timeout: float = 5.0) -> None:
        """Wait until the connection has ended. Raises `AssertionError` when it has not within so many seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._gone.wait()
        except TimeoutError:
            raise AssertionError(f"still connected after {timeout:g} s") from None

    def _take_in(self, event: str, args: list[Any]) -> None:
        received = ReceivedEvent(event, args)
        self.received.append(received)
        self._untaken.append(received)
        self._changed.set()
