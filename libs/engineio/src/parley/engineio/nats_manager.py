"""A client manager over NATS, for python-socketio's servers, stock or on this engine, and for external processes.

Servers with the same `channel` share their rooms: what one of them emits, lets in or closes reaches the connections of
all, and a process without a server emits with `write_only`. NATS delivers at most once: while a server is not connected
to it, what others emit does not reach that server's clients and does not come later, and a server that reads too slowly
loses what its subscription cannot hold. What must arrive belongs into a log, as Parley's chat has one.

Every server decodes everything on the channel, whether it has the room or not; that is python-socketio's design.
"""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error
from socketio.async_pubsub_manager import AsyncPubSubManager

from parley.engineio.python_socketio.client_manager import BroadcastManager

RETRY_SECONDS = 1.0
"""Between attempts to subscribe, where NATS cannot be reached at first or refuses."""


class AsyncNatsManager(AsyncPubSubManager, BroadcastManager):
    """`client_manager=AsyncNatsManager("nats://localhost:4222")`; with `write_only=True` it needs no server.

    Messages beyond the broker's `max_payload` raise `nats.errors.MaxPayloadError`, after this server's own clients have
    been sent theirs. `nats_options` go to `nats.connect`, credentials and TLS for instance.
    """

    name = "asyncnats"

    def __init__(
        self,
        url: str = "nats://localhost:4222",
        channel: str = "socketio",
        write_only: bool = False,
        logger: Any = None,
        json: Any = None,
        nats_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(channel=channel, write_only=write_only, logger=logger, json=json)
        self._url = url
        self._options = nats_options or {}
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Send what is on its way and disconnect. Of a server, this ends its part in the channel."""
        if (listening := getattr(self, "thread", None)) is not None:
            listening.cancel()
            await asyncio.wait([listening])
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            await client.drain()

    async def _connected(self) -> Client:
        """The connection. nats-py keeps it, restores subscriptions, and holds 2 MiB back meanwhile."""
        async with self._connecting:
            if self._client is None or self._client.is_closed:
                options: dict[str, Any] = {"max_reconnect_attempts": -1, "error_cb": self._failed, **self._options}
                self._client = await nats.connect(self._url, **options)
            return self._client

    async def _failed(self, error: Exception) -> None:
        self._get_logger().warning("NATS: %s", error or type(error).__name__)

    async def _publish(self, data: Any) -> None:
        client = await self._connected()
        await client.publish(self.channel, self.json.dumps(data).encode())
        if self.write_only:
            # An external process may end right after it has emitted.
            await client.flush()

    async def _listen(self) -> AsyncGenerator[bytes]:
        while True:
            with suppress(Error, OSError):
                client = await self._connected()
                subscription = await client.subscribe(self.channel)
                async for message in subscription.messages:
                    yield message.data
            # python-socketio asks again at once, however often it is refused.
            self._get_logger().warning("NATS: not subscribed to %s, trying again", self.channel)
            await asyncio.sleep(RETRY_SECONDS)
