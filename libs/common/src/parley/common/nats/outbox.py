"""Gathers items by destination and sends them with the next write, in as few messages as possible.

Answers to requests, acks of commands and reports of clients' acks leave a process this way. A message that cannot be
sent fails alone: what is gathered for other subjects is sent, and a message that is too large is cut or replaced.

| state | input | next |
|---|---|---|
| empty | `add` | gathering: `_send` is called just before the next write |
| gathering | `add` | gathering |
| gathering | the next write | empty; everything was sent |
| gathering | the next write, while the bus is congested | waiting: a task sends one message after the other |
| waiting | `add` | waiting; the task sends it, too |
| waiting | nothing is left | empty |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from parley.common.errors import Code, Reject
from parley.common.nats.chunks import split_by_size
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks

log = get_logger(__name__)

ItemT = TypeVar("ItemT")

Publish = Callable[[str, bytes, str], Awaitable[None]]
"""Sends a payload on a subject, with a reply subject or an empty one. Raises `Reject`."""


class OutboxConnection(Protocol):
    """The part of a `Bus` that an outbox needs; the bus has one itself, so it cannot be imported here."""

    @property
    def congested(self) -> bool:
        """Whether NATS takes less than it is sent."""
        ...

    def before_write(self, gather: Callable[[], None]) -> None:
        """Call back once, just before the next write."""
        ...

    def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message without waiting. Raises `Reject`."""
        ...

    async def drained(self) -> None:
        """Wait while the connection is congested."""
        ...


class Outbox(Generic[ItemT]):
    """Gathers items by subject.

    `encode` makes the payload of a message, `weigh` estimates an item's bytes, and a message has `max_bytes` at most.
    `replace` is given an item that does not fit a message by itself and returns what is sent instead, or None.
    """

    def __init__(
        self,
        connection: OutboxConnection,
        tasks: Tasks,
        name: str,
        *,
        encode: Callable[[Sequence[ItemT]], bytes],
        weigh: Callable[[ItemT], int],
        max_bytes: int,
        replace: Callable[[ItemT], ItemT | None],
    ) -> None:
        self._connection = connection
        self._tasks = tasks
        self._name = name
        self._encode = encode
        self._weigh = weigh
        self._max_bytes = max_bytes
        self._replace = replace
        self._gathered: dict[str, list[ItemT]] = {}
        self._waits = False
        """Whether a task sends, because the connection is congested."""

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._gathered and not self._waits

    def add(self, subject: str, item: ItemT) -> None:
        """Send an item with the next write."""
        if (items := self._gathered.get(subject)) is not None:
            items.append(item)
            return
        self._gathered[subject] = [item]
        if not self._waits:
            self._connection.before_write(self._send)

    def _send(self) -> None:
        if self._waits:
            return
        if self._connection.congested:
            self._waits = True
            self._tasks.spawn(self._send_waiting(), name=self._name)
            return
        for subject, chunk in self._chunks():
            self._send_chunk(subject, chunk)

    async def _send_waiting(self) -> None:
        try:
            # What is added meanwhile goes with the next round of this task.
            while self._gathered:
                for subject, chunk in self._chunks():
                    self._send_chunk(subject, chunk)
                    await self._connection.drained()
        finally:
            self._waits = False

    def _chunks(self) -> Iterator[tuple[str, list[ItemT]]]:
        gathered, self._gathered = self._gathered, {}
        for subject, items in gathered.items():
            for chunk in split_by_size(items, self._max_bytes, self._weigh):
                yield subject, chunk

    def _send_chunk(self, subject: str, chunk: list[ItemT]) -> None:
        try:
            self._connection.send(subject, self._encode(chunk))
        except Reject as rejection:
            if rejection.code is not Code.PAYLOAD_TOO_LARGE:
                log.warning("not sent", what=self._name, items=len(chunk), code=str(rejection.code))
                return
            # Estimates may be too low; the broker's limit is known only here. Halves end at single items, so this ends
            # as well.
            for smaller in self._smaller(subject, chunk):
                self._send_chunk(subject, smaller)
        except Exception:
            # An item that cannot be encoded must not hold up the messages to other subjects.
            log.exception("not sent", what=self._name, items=len(chunk))

    def _smaller(self, subject: str, chunk: list[ItemT]) -> Iterator[list[ItemT]]:
        """Return what to send instead of a message that is too large: two halves, or a replacement of the only item."""
        if len(chunk) > 1:
            half = len(chunk) // 2
            yield chunk[:half]
            yield chunk[half:]
            return
        log.error("too large to be sent", what=self._name, subject=subject, bytes=self._weigh(chunk[0]))
        instead = self._replace(chunk[0])
        # A replacement that is no smaller would come back here for ever.
        if instead is not None and self._weigh(instead) < self._weigh(chunk[0]):
            yield [instead]
