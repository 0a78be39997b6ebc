"""A client manager over NATS, for python-socketio's servers, stock or on this engine, and for external processes.

Servers with the same `channel` share their rooms: what one of them emits to a room, or does with a connection, reaches
the connections of all. A process without a server emits with `write_only`.

NATS delivers at most once. While a server is not connected to NATS, its clients miss what others emit, and a server
that reads too slowly loses what its subscription cannot hold. Events that must arrive belong into a log, as Parley's
chat has one. Every server decodes everything on the channel, whether it has the room or not: that is python-socketio's
design.
"""
# pyright: reportUnknownArgumentType=false, reportIncompatibleMethodOverride=false

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
"""Seconds between two attempts to subscribe, while NATS cannot be reached or refuses."""


class AsyncNatsManager(AsyncPubSubManager, BroadcastManager):
    """Shares rooms over NATS: `client_manager=AsyncNatsManager("nats://localhost:4222")`.

    With `write_only=True` it needs no server. `nats_options` are passed to `nats.connect`, such as credentials and TLS.
    An emit beyond NATS' `max_payload` raises `nats.errors.MaxPayloadError` after this server's own clients were sent
    the event.
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
        """Send what is on its way and disconnect. A server takes no part in the channel any more."""
        if (listening := getattr(self, "thread", None)) is not None:
            listening.cancel()
            await asyncio.wait([listening])
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            await client.drain()

    async def _connected(self) -> Client:
        """Return the connection, made by the first call. nats-py reconnects it, and buffers up to 2 MiB meanwhile."""
        # Two emits at once must not make two connections.
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
            # An external process may end right after an emit, and nats-py writes in a task of its own.
            await client.flush()

    async def _listen(self) -> AsyncGenerator[bytes]:
        while True:
            with suppress(Error, OSError):
                client = await self._connected()
                subscription = await client.subscribe(self.channel)
                async for message in subscription.messages:
                    yield message.data
            # Waited here, since python-socketio calls `_listen` again at once, however often it fails.
            self._get_logger().warning("NATS: not subscribed to %s, trying again", self.channel)
            await asyncio.sleep(RETRY_SECONDS)
