"""Sends operations on connections to all gateways or to one, and waits for their replies.

`BroadcastOperator` uses it for emits, acks, fetching, joining, leaving and disconnecting, auth for kicking and listing.
Each request has an inbox of its own, on which gateways reply. It is published whatever the registry says; the registry
only tells whose replies are waited for, so a gateway that nobody has heard yet acts on it all the same.
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
"""Seconds after which the registry is asked again which gateways live, while replies are missing."""


class GatewayRequests:
    """Sends operations to gateways. The emitters of all namespaces of a process share one, and its registry."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.registry = GatewayRegistry(bus)

    async def start(self) -> None:
        """Begin to learn which gateways live."""
        await self.registry.start()

    async def send(self, operation: Operation, gateway: str) -> None:
        """Send an operation without replies, to one gateway or, with an empty address, to all. Raises `Reject`."""
        await self.bus.publish(_subject(operation, gateway), operation.encode())

    async def request(
        self,
        operation: Callable[[str], Operation],
        gateway: str,
        kind: type[ReplyT],
        timeout: float,
        most: int | None = None,
        inbox: str = "",
    ) -> GatewayReplies[ReplyT]:
        """Send an operation to one gateway or, with an empty address, to all, and wait for their replies.

        It returns when everything has come or `timeout` seconds have passed. `operation` makes the operation for an
        inbox, a new one unless `inbox` names it. Once `most` connections were found, no other gateway is waited for.
        Raises `Reject(unavailable)` without a connection to NATS.
        """
        if not self.bus.connected:
            raise Reject(Code.UNAVAILABLE)
        # One gateway can be asked without a registry: its reply, or NATS' no-responders status, ends the wait.
        if not gateway:
            await self.registry.start()
        collector, changed = ReplyCollector[ReplyT](gateway, most), asyncio.Event()

        def hear(data: bytes) -> None:
            # NATS' no-responders status arrives as an empty message.
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
        request = operation(inbox or subjects.inbox())
        # Before publishing: a gateway may reply before the publish has returned.
        listener = self.bus.listen(request.inbox, hear)
        try:
            await self.bus.publish(_subject(request, gateway), request.encode(), request.inbox)
            # After publishing, which may have waited for NATS, and with the gateways that live now.
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
    if gateway:
        return subjects.gateway(gateway)
    namespace = operation.selection.namespace
    return subjects.sockets(namespace) if namespace else subjects.GATEWAYS
