"""Operations on connections, sent to every gateway or to one, and what they answer on an inbox of the request's own.

One machine for emits with acks, fetching, joining, leaving, disconnecting, kicking and listing. Every request is sent,
whoever is thought to be alive; the registry says for whose answers it is waited, and who owes one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.operations import Operation
from parley.framework.remote.gateway_registry import GatewayRegistry

RECHECK = 0.25
"""Seconds after which it is looked again which gateways live."""


class GatewayReply(Protocol):
    """One message of one gateway."""

    @property
    def gateway(self) -> str:
        """The address of who says it."""
        ...

    @property
    def matched(self) -> int:
        """How many connections were found, in addition to what was said before."""
        ...

    @property
    def outstanding(self) -> int:
        """By how much the number of things to come changes."""
        ...


ReplyT = TypeVar("ReplyT", bound=GatewayReply)


@dataclass(slots=True)
class GatewayReplies(Generic[ReplyT]):
    """What was answered, and by whom it was not. Gateways are named by their addresses."""

    received: list[ReplyT] = field(default_factory=list[ReplyT])
    matched: int = 0
    outstanding: int = 0
    answered: set[str] = field(default_factory=set[str])
    nobody: bool = False
    """Whether nobody listened: there is no such gateway, or none at all, or it has lost the broker."""
    complete: bool = False
    """Whether everything has come, from every living gateway."""
    unanswered: tuple[str, ...] = ()
    """The living gateways that said nothing."""
    silent: tuple[str, ...] = ()
    """Those that fell silent some time ago and said nothing: they may stand still, and hold connections."""

    def add(self, reply: ReplyT) -> None:
        """Take in one message."""
        self.received.append(reply)
        self.matched += reply.matched
        self.outstanding += reply.outstanding
        self.answered.add(reply.gateway)


class GatewayRequests:
    """Sends operations to gateways, and knows from the registry who has to answer."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.registry = GatewayRegistry(bus)

    async def start(self) -> None:
        """Begin to learn which gateways live."""
        await self.registry.start()

    async def send(self, operation: Operation, gateway: str) -> None:
        """Have one gateway do something, or with an empty address all, without an answer. Raises `Reject`."""
        await self.bus.publish(_subject(operation, gateway), operation.encode())

    async def request(
        self,
        operation: Callable[[str], Operation],
        gateway: str,
        kind: type[ReplyT],
        timeout: float,
        enough: int | None = None,
    ) -> GatewayReplies[ReplyT]:
        """Ask one gateway, or with an empty address all, until everything has come or `timeout` seconds have passed.

        `operation` makes what is asked for an inbox. Once `enough` connections are found, no other gateway is waited
        for. Raises `Reject` when it cannot be sent.
        """
        if not self.bus.connected:
            raise Reject(Code.UNAVAILABLE)
        if not gateway:
            await self.registry.start()
        replies, changed = GatewayReplies[ReplyT](), asyncio.Event()

        def hear(data: bytes) -> None:
            if data:
                replies.add(decode(data, kind))
            else:
                replies.nobody = True  # the broker says that nobody listens there
            changed.set()

        deadline = time.monotonic() + timeout
        asked = operation(subjects.inbox())
        listener = self.bus.listen(asked.inbox, hear)
        try:
            await self.bus.publish(_subject(asked, gateway), asked.encode(), asked.inbox)
            while self._waits(replies, gateway, enough) and (left := deadline - time.monotonic()) > 0:
                changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, RECHECK)):
                        await changed.wait()
        finally:
            listener.close()
        missing = self._missing(replies, gateway)
        if replies.nobody:
            # Those that were heard a moment ago are cut off from the broker, or dead; their connections may live on.
            missing = {
                address
                for address in self.registry.alive()
                if not gateway or gateway in (address, self.registry.name_of(address))
            }
        replies.complete = not self._waits(replies, gateway, enough) and not (replies.nobody and missing)
        replies.unanswered = () if replies.complete else tuple(sorted(missing))
        if not gateway:
            replies.silent = tuple(sorted(self.registry.silent().keys() - replies.answered))
        return replies

    def _waits(self, replies: GatewayReplies[ReplyT], gateway: str, enough: int | None) -> bool:
        if replies.nobody:
            return False
        if replies.outstanding > 0:
            return True
        if enough is not None and replies.matched >= enough:
            return False
        warmed_up = bool(gateway) or self.registry.warmed_up
        return not warmed_up or bool(self._missing(replies, gateway))

    def _missing(self, replies: GatewayReplies[ReplyT], gateway: str) -> set[str]:
        """Who of those that are waited for has said nothing."""
        if not gateway:
            return self.registry.alive().keys() - replies.answered
        # Whoever is asked by its name answers by its address.
        return set() if replies.answered else {gateway}


def _subject(operation: Operation, gateway: str) -> str:
    if gateway:
        return subjects.gateway(gateway)
    namespace = operation.selection.namespace
    return subjects.sockets(namespace) if namespace else subjects.GATEWAYS
