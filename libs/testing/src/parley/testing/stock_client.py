"""A stock client (python-socketio's) with the API of a fake connection.

It differs from the library's own client in three ways, all in `_Socket`: every event is kept, whether it has a handler
or not; only events for which the test has set an answer are acked; and a transport that ends during CONNECT is noticed.
"""

# The library does not declare the types of what is used here.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import aiohttp
import socketio
from socketio import packet
from socketio.exceptions import ConnectionError as NotConnected

from parley.testing.mailbox import Mailbox

CONNECT_SECONDS = 15.0
"""Seconds that a CONNECT may take: longer than a gateway waits for a service."""
FLUSH_SECONDS = 1.0
"""Seconds that a transport may take to send what waits, before it is closed anyway."""


class ConnectError(Exception):
    """Raised when the namespace was not joined.

    `message` and `data` are those of the client's `connect_error`: `data` is `{code, message, retryable, data?}`, or
    None when the transport was closed instead.
    """

    def __init__(self, refusal: Any) -> None:
        super().__init__(str(refusal))
        told: dict[str, Any] = refusal if isinstance(refusal, dict) else {}
        self.message: str = told.get("message", "")
        self.data: Any = told.get("data")


class StockClient(Mailbox):
    """One connection to one namespace. `RunningServer.connect` makes it. `client` is python-socketio's client."""

    def __init__(self, namespace: str) -> None:
        super().__init__()
        self.namespace = namespace
        self.client: Any = _Socket(self)
        self._http: aiohttp.ClientSession | None = None
        self._refusal: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def sid(self) -> str:
        """The sid in the namespace; empty when it is not connected."""
        return self.client.get_sid(self.namespace) or ""

    @property
    def connected(self) -> bool:
        """Whether the client is in the namespace."""
        return self.client.connected and self.namespace in self.client.namespaces

    async def connect(
        self,
        url: str,
        *,
        auth: Mapping[str, Any],
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        transports: list[str] | None = None,
    ) -> None:
        """Join the namespace. Raises `ConnectError`."""
        client, namespace = self.client, self.namespace
        client.on("connect_error", self._on_refused, namespace=namespace)
        client.on("disconnect", self._on_disconnect, namespace=namespace)
        self._http = client.eio.http = aiohttp.ClientSession()
        try:
            await client.connect(
                f"{url}?{urlencode(query)}" if query else url,
                headers=dict(headers or {}),
                auth=dict(auth),
                namespaces=[namespace],
                transports=transports or ["websocket"],
                wait_timeout=CONNECT_SECONDS,
            )
        except NotConnected as error:
            await self.close()
            raise ConnectError(self._refusal.result() if self._refusal.done() else None) from error
        except BaseException:
            await self.close()
            raise

    async def emit(self, event: str, *args: Any, timeout: float = 10.0) -> Any:
        """Emit an event and return its ack: `{"ok": ...}`, or what the controller passed to `ack`, many in a tuple."""
        return await self.client.call(event, args, namespace=self.namespace, timeout=timeout)

    async def tell(self, event: str, *args: Any) -> None:
        """Emit an event without asking for an ack; a failure arrives as event `error`."""
        await self.client.emit(event, args, namespace=self.namespace)

    async def disconnect(self) -> None:
        """Leave the namespace and close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the client and its transport. To do it twice is harmless."""
        await self.client.shutdown()
        if self._http is not None:
            await self._http.close()

    def take_in(self, event: str, args: list[Any]) -> tuple[Any, ...] | None:
        """Keep an event that arrived, and return the ack that was set for it, or None."""
        self._take_in(event, args)
        return self._answers.get(event)

    async def _on_refused(self, data: Any = None, *_more: Any) -> None:
        if not self._refusal.done():
            self._refusal.set_result(data)

    async def _on_disconnect(self, _reason: str) -> None:
        self._gone.set()


class _Socket(socketio.AsyncClient):
    """The library's client with the three differences that the module's docstring names."""

    def __init__(self, owner: StockClient) -> None:
        super().__init__(reconnection=False)
        self._owner = owner

    async def disconnect(self) -> None:
        """Leave all namespaces, and close the transport once that was sent; the library itself would not wait."""
        transport: Any = self.eio
        # Sent here and not by the library, which closes the transport before it has written them.
        for namespace in self.namespaces:
            await self._send_packet(packet.Packet(packet.DISCONNECT, namespace=namespace))
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await transport.queue.join()
        await super().disconnect()

    async def _handle_eio_disconnect(self, reason: str) -> None:
        if not self.connected:
            # Without this, `connect` would wait for an answer until `CONNECT_SECONDS` have passed.
            self.failed_namespaces = [self._owner.namespace]
            self._connect_event.set()
        await super()._handle_eio_disconnect(reason)

    async def _handle_event(self, namespace: str | None, id: int | None, data: list[Any]) -> None:  # noqa: A002
        answer = self._owner.take_in(data[0], list(data[1:]))
        if answer is not None and id is not None:
            ack: Any = packet.Packet(packet.ACK, namespace=namespace, id=id, data=list(answer))
            await self._send_packet(ack)
        # The library would ack every event, also one without a handler.
        handled, _ = self._get_event_handler(data[0], namespace or "/", ())
        await super()._handle_event(namespace, id if handled and answer is None else None, data)
