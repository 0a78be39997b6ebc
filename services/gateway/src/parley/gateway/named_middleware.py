"""Middleware by name: what the gateway brings along, and functions of the adopter's own."""

from __future__ import annotations

import inspect
import pkgutil
import time
from collections.abc import Mapping
from typing import Any

from parley.common.errors import Code, Reject
from parley.framework import ConnectionContext, Context
from parley.framework.routing.middleware import ConnectionMiddleware, Next, PacketMiddleware
from parley.framework.running.loading import search_working_directory


class UnknownMiddleware(LookupError):
    """A name in the configuration leads to no middleware. The text says why."""


async def log_connection(connection: ConnectionContext, call_next: Next) -> None:
    """Log who connected from where, and when, why and after how long they disconnected."""
    started = time.monotonic()
    connection.log.info("connecting", address=connection.handshake.address)
    await call_next()
    connection.log.info("disconnected", reason=connection.reason, seconds=round(time.monotonic() - started, 3))


async def websocket_only(connection: ConnectionContext, call_next: Next) -> None:
    """Refuse clients that connect by long polling: `forbidden`."""
    if connection.handshake.transport != "websocket":
        raise Reject(Code.FORBIDDEN, "Connect by WebSocket.")
    await call_next()


async def log_packet(context: Context, call_next: Next) -> None:
    """Log every event, how long it took and whether it was accepted, but not what it contains."""
    started = time.monotonic()
    accepted = False
    try:
        await call_next()
        accepted = True
    finally:
        seconds = round(time.monotonic() - started, 4)
        context.log.info("event", accepted=accepted, bytes=len(context.encoded_args[0]), seconds=seconds)


CONNECTION: Mapping[str, ConnectionMiddleware] = {"log": log_connection, "websocket_only": websocket_only}
PACKET: Mapping[str, PacketMiddleware] = {"log": log_packet}


def connection(name: str) -> ConnectionMiddleware:
    """Return the connection middleware with this name. Raises `UnknownMiddleware`."""
    return _find(name, CONNECTION)


def packet(name: str) -> PacketMiddleware:
    """Return the packet middleware with this name. Raises `UnknownMiddleware`."""
    return _find(name, PACKET)


def _find(name: str, own: Mapping[str, Any]) -> Any:
    if name in own:
        return own[name]
    if "." not in name and ":" not in name:
        raise UnknownMiddleware(
            f'there is no "{name}" here, only {", ".join(sorted(own))}; write your own as "package.module:function"'
        )
    # Before the import: like with uvicorn, the adopter's modules are found beside where the process was started.
    search_working_directory()
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownMiddleware(f'"{name}": {error}') from error
    except Exception as error:
        raise UnknownMiddleware(f'"{name}": its module fails: {type(error).__name__}: {error}') from error
    if not inspect.iscoroutinefunction(found) and not inspect.iscoroutinefunction(getattr(found, "__call__", None)):  # noqa: B004
        raise UnknownMiddleware(f'"{name}" is no async function of what passes and `call_next`')
    return found
