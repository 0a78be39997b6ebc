"""The events that a connection of a test has received, and the acks that it sends; for fake and real connections."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple


class ReceivedEvent(NamedTuple):
    """An event that arrived, with its arguments; binary data in them is `bytes`."""

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
        """Ack an event with this value from now on: None is an ack without arguments, a tuple one with several.

        An event for which nothing was set is not acked.
        """
        self._answers[event] = () if value is None else value if isinstance(value, tuple) else (value,)

    async def event(self, event: str, *, timeout: float = 5.0) -> list[Any]:
        """Take the next event of this name that was not taken yet, and return its arguments.

        Waits for the event if need be. Raises `AssertionError` when none arrives within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    # The oldest first, and whatever came before it stays: tests may wait for events in another order.
                    for received in self._untaken:
                        if received.event == event:
                            self._untaken.remove(received)
                            return received.args
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            # `AssertionError`, since it is the test's expectation that was not met.
            raise AssertionError(f"no {event!r} arrived in {timeout:g} s, only {self._untaken}") from None

    async def disconnected(self, *, timeout: float = 5.0) -> None:
        """Wait until the connection has ended. Raises `AssertionError` after `timeout` seconds."""
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
