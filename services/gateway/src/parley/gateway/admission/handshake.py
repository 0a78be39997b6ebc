"""What middleware and services are told of how a connection came about, pure: nothing secret, and not too much."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from parley.common.errors import Code, Reject
from parley.common.wire.connections import Handshake
from parley.gateway.connections.connection import Connection

MAX_BYTES = 4096
"""Bytes of an encoded handshake. It travels with every batch of commands."""
SECRETS = frozenset({"token"})
OWN_FIELDS = frozenset({"token", "cursors", "log", "pid", "offset", "presence"})
"""The fields of the CONNECT payload that belong to Parley and Socket.IO themselves."""


def handshake_of(connection: Connection, auth: Mapping[str, Any], headers: Collection[str]) -> Handshake:
    """Return the handshake of a connection, as its namespace may see it."""
    origin = connection.session.origin
    return Handshake(
        origin.address,
        {name: value for name, value in origin.query.items() if name not in SECRETS},
        {name: value for name, value in auth.items() if name not in OWN_FIELDS},
        {name: origin.headers[name] for name in headers if name in origin.headers},
        origin.secure,
        connection.connected_at,
        "polling" if connection.session.socket is None else "websocket",
    )


def encoded(handshake: Handshake) -> bytes:
    """Return a handshake as it travels. Raises `Reject` if the client said too much."""
    data = handshake.encode()
    if len(data) > MAX_BYTES:
        raise Reject(Code.PAYLOAD_TOO_LARGE, f"Query, auth and headers are at most {MAX_BYTES} bytes together.")
    return data
