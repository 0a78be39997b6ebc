"""What is to be sent is gathered by destination: that of one loop tick goes together, in as few messages as it fits.

Requests, answers, acks of commands and reports of clients' acks all leave a process this way. A message that cannot be
sent fails alone: what is gathered for others goes on, and what is too large is cut smaller or replaced.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Generic, TypeVar

from parley.common.chunks import split_by_size
from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.tasks import Tasks

log = get_logger(__name__)

ItemT = TypeVar("ItemT")

Publish = Callable[[str, bytes, str], Awaitable[None]]
"""Sends a payload on a subject, with a reply subject or none. Raises `Reject`."""


class Outbox(Generic[ItemT]):
    """Gathers items by the subject where they go.

    `encode` makes the payload of a message of some items. `replace` is given an item that does not fit a message by
    itself and returns what is sent instead, or None.
    """

    def __init__(
        self,
        publish: Publish,
        tasks: Tasks,
        name: str,
        *,
        encode: Callable[[Sequence[ItemT]], bytes],
        weigh: Callable[[ItemT], int],
        max_bytes: int,
        replace: Callable[[ItemT], ItemT | None],
    ) -> None:
        self._publish = publish
        self._tasks = tasks
        self._name = name
        self._encode = encode
        self._weigh = weigh
        self._max_bytes = max_bytes
        self._replace = replace
        self._gathered: dict[str, list[ItemT]] = {}
        self._sending = False

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._gathered and not self._sending

    def add(self, subject: str, item: ItemT) -> None:
        """Send an item at the end of this tick."""
        items = self._gathered.get(subject)
        if items is None:
            items = self._gathered[subject] = []
            if not self._sending:
                self._sending = True
                # A task runs on the next tick, when every item of this one has been gathered.
                self._tasks.spawn(self._send(), name=self._name)
        items.append(item)

    async def _send(self) -> None:
        try:
            # What is added while a message is on its way to the broker goes with the next round, not with a new task.
            while self._gathered:
                gathered, self._gathered = self._gathered, {}
                for subject, items in gathered.items():
                    for chunk in split_by_size(items, self._max_bytes, self._weigh):
                        await self._send_chunk(subject, chunk)
        finally:
            self._sending = False

    async def _send_chunk(self, subject: str, chunk: list[ItemT]) -> None:
        try:
            await self._publish(subject, self._encode(chunk), "")
        except Reject as rejection:
            if rejection.code is not Code.PAYLOAD_TOO_LARGE:
                log.warning("not sent", what=self._name, items=len(chunk), code=str(rejection.code))
                return
            for smaller in self._smaller(subject, chunk):
                await self._send_chunk(subject, smaller)
        except Exception:
            # One item that cannot be encoded must not take along what others are waiting for.
            log.exception("not sent", what=self._name, items=len(chunk))

    def _smaller(self, subject: str, chunk: list[ItemT]) -> Iterator[list[ItemT]]:
        """What to send instead of a message that is too large."""
        if len(chunk) > 1:
            half = len(chunk) // 2
            yield chunk[:half]
            yield chunk[half:]
            return
        log.error("too large to be sent", what=self._name, subject=subject, bytes=self._weigh(chunk[0]))
        instead = self._replace(chunk[0])
        # A replacement that is no smaller would come here again, for ever.
        if instead is not None and self._weigh(instead) < self._weigh(chunk[0]):
            yield [instead]
