"""Questions that every gateway answers, or one of them, each with an inbox of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.errors import Code, Reject
from parley.common.wire.codec import decode
from parley.common.wire.operations import Operation
from parley.framework.gateway_registry import GatewayRegistry

RECHECK = 0.25
"""Seconds after which it is looked again which gateways live."""


class GatewayReply(Protocol):
    """One message of one gateway."""

    @property
    def gateway(self) -> str:
        """Who says it."""
        ...

    @property
    def found(self) -> int:
        """How many connections were found, in addition to what was said before."""
        ...

    @property
    def due(self) -> int:
        """By how much the number of things to come changes."""
        ...


ReplyT = TypeVar("ReplyT", bound=GatewayReply)


@dataclass(slots=True)
class GatewayReplies(Generic[ReplyT]):
    """What was answered, and by whom it was not."""

    received: list[ReplyT] = field(default_factory=list[ReplyT])
    found: int = 0
    due: int = 0
    heard: set[str] = field(default_factory=set[str])
    nobody: bool = False
    """Whether there is no such gateway, or none at all."""
    complete: bool = False
    """Whether everything has come, from everybody."""
    unanswered: tuple[str, ...] = ()
    """The living gateways that said nothing."""

    def add(self, reply: ReplyT) -> None:
        """Take in one message."""
        self.received.append(reply)
        self.found += reply.found
        self.due += reply.due
        self.heard.add(reply.gateway)


class GatewayRequests:
    """Asks, and knows from the directory who has to answer."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.directory = GatewayRegistry(bus)

    async def start(self) -> None:
        """Begin to learn which gateways live."""
        await self.directory.start()

    async def tell(self, operation: Operation, gateway: str) -> None:
        """Have one gateway do something, or with an empty name all, without an answer. Raises `Reject`."""
        await self.bus.publish(_subject(operation, gateway), operation.encode())

    async def ask(
        self,
        operation: Callable[[str], Operation],
        gateway: str,
        kind: type[ReplyT],
        timeout: float,
        enough: int | None = None,
    ) -> GatewayReplies[ReplyT]:
        """Ask one gateway, or with an empty name all, until everything has come or `timeout` seconds have passed.

        `operation` makes the question for an inbox. Once `enough` connections are found, no other gateway is waited
        for. Raises `Reject` when it cannot be sent.
        """
        if not self.bus.connected:
            raise Reject(Code.UNAVAILABLE)
        if not gateway:
            await self.directory.start()
        replies, changed = GatewayReplies[ReplyT](), asyncio.Event()

        def hear(data: bytes) -> None:
            if data:
                replies.add(decode(data, kind))
            else:
                replies.nobody = True  # the broker says that nobody listens there
            changed.set()

        deadline = time.monotonic() + timeout
        question = operation(subjects.inbox())
        listener = self.bus.listen(question.inbox, hear)
        try:
            await self.bus.publish(_subject(question, gateway), question.encode(), question.inbox)
            while self._waits(replies, gateway, enough) and (left := deadline - time.monotonic()) > 0:
                changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, RECHECK)):
                        await changed.wait()
        finally:
            listener.close()
        replies.complete = not self._waits(replies, gateway, enough)
        replies.unanswered = () if replies.complete else tuple(sorted(self._silent(replies, gateway)))
        return replies

    def _waits(self, replies: GatewayReplies[ReplyT], gateway: str, enough: int | None) -> bool:
        if replies.nobody:
            return False
        if replies.due > 0:
            return True
        if enough is not None and replies.found >= enough:
            return False
        settled = bool(gateway) or self.directory.settled
        return not settled or bool(self._silent(replies, gateway))

    def _silent(self, replies: GatewayReplies[ReplyT], gateway: str) -> set[str]:
        return ({gateway} if gateway else set(self.directory.alive())) - replies.heard


def _subject(question: Operation, gateway: str) -> str:
    return subjects.gateway(gateway) if gateway else subjects.sockets(question.selection.namespace)
