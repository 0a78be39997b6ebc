"""Operations on connections, sent to every gateway or to one, and what they answer on an inbox of the request's own.

One machine for emits with acks, fetching, joining, leaving, disconnecting, kicking and listing. Every request is sent,
whoever is thought to be alive; the registry says for whose answers it is waited, and who owes one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.operations import Operation
from parley.framework.remote.gateway_registry import GatewayRegistry
from parley.framework.remote.reply_collector import GatewayReplies, ReplyCollector, ReplyT

RECHECK = 0.25
"""Seconds after which it is looked again which gateways live."""


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
        most: int | None = None,
    ) -> GatewayReplies[ReplyT]:
        """Ask one gateway, or with an empty address all, until everything has come or `timeout` seconds have passed.

        `operation` makes what is asked for an inbox. Once `most` connections are found, no other gateway is waited
        for. Raises `Reject` when it cannot be sent.
        """
        if not self.bus.connected:
            raise Reject(Code.UNAVAILABLE)
        if not gateway:
            await self.registry.start()
        collector, changed = ReplyCollector[ReplyT](gateway, most), asyncio.Event()

        def hear(data: bytes) -> None:
            if data:
                collector.add(decode(data, kind))
            else:
                collector.no_listener = True
            changed.set()

        def expect() -> None:
            alive, name_of = self.registry.alive(), self.registry.name_of
            asked = {address for address in alive if not gateway or gateway in (address, name_of(address))}
            collector.expect(asked, all_known=self.registry.warmed_up)

        deadline = time.monotonic() + timeout
        request = operation(subjects.inbox(self.bus.user, subjects.GATEWAY_ANSWERS))
        listener = self.bus.listen(request.inbox, hear)
        try:
            await self.bus.publish(_subject(request, gateway), request.encode(), request.inbox)
            expect()
            while not collector.ended and (left := deadline - time.monotonic()) > 0:
                changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, RECHECK)):
                        await changed.wait()
                expect()
        finally:
            listener.close()
        return collector.result(self.registry.silent())


def _subject(operation: Operation, gateway: str) -> str:
    namespace = operation.selection.namespace
    if gateway:
        return subjects.gateway(gateway, namespace)
    return subjects.sockets(namespace) if namespace else subjects.GATEWAYS
