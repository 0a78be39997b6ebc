"""The events that clients emit, on their way from a gateway to a service, and the acks on their way back."""

from __future__ import annotations

from typing import Any

import msgspec

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity

RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Event names that Socket.IO's clients and servers use themselves (Socket.IO v5 protocol, "Reserved events")."""


class Command(Wire, frozen=True):
    """One event that a client emitted. `tag` identifies it in the ack.

    `args` is the JSON array of its arguments, with placeholders for the attachments. `correlation` marks its log lines.
    """

    tag: int
    event: str
    args: bytes
    correlation: str
    attachments: tuple[bytes, ...] = ()


class ConnectionCommands(Wire, frozen=True):
    """The commands of one connection in a batch, in the order in which they were sent.

    `handshake` and `data` are encoded: a `Handshake`, and the map that services keep with the connection.
    """

    sid: str
    identity: Identity
    commands: list[Command]
    handshake: bytes = b""
    data: bytes = b""


class CommandBatch(Wire, frozen=True):
    """The commands for one namespace that a gateway received within one turn of its loop."""

    gateway: str
    namespace: str
    connections: list[ConnectionCommands]


class Ack(Wire, frozen=True):
    """The outcome of the command with this tag.

    `payload` is the JSON of the ack's arguments without the array's brackets, with placeholders for the attachments:
    one object, or what a controller passed to `ack`. `data_changes` are encoded `DataChanges`, if there are any.
    """

    tag: int
    payload: bytes
    ok: bool
    attachments: tuple[bytes, ...] = ()
    data_changes: bytes | None = None


class DataChanges(Wire, frozen=True):
    """The keys that a controller has changed in the map that is kept with a connection, with their encoded values.

    Only the changes travel, since other controllers may have changed other keys meanwhile.
    """

    values: dict[str, bytes]
    removed: list[str] = []


class AckBatch(Wire, frozen=True):
    """The outcomes for one gateway that became ready within one turn of a service's loop."""

    acks: list[Ack]


def ok_payload(result: Any) -> bytes:
    """Return the JSON ack of an accepted command: `{"ok": true, ...result}`. `result` is a mapping, a struct or None.

    Raises `TypeError` for another result, and what msgspec raises for values that it cannot encode.
    """
    if result is None:
        return b'{"ok":true}'
    # Put together as bytes: to copy the result into a dict with `ok` would cost more than the controller.
    body = msgspec.json.encode(result)
    if body[:1] != b"{":
        raise TypeError(f"a controller returns an object or None, not {type(result).__name__}")
    return b'{"ok":true}' if body == b"{}" else b'{"ok":true,' + body[1:]


class _RefusedAck(msgspec.Struct):
    error: msgspec.Raw


def error_of(payload: bytes) -> msgspec.Raw:
    """Return the JSON of the error in the ack of a rejected command. Raises what msgspec raises for any other ack."""
    return msgspec.json.decode(payload, type=_RefusedAck).error


def error_payload(error: dict[str, Any]) -> bytes:
    """Return the JSON ack of a rejected command: `{"ok": false, "error": {code, message, retryable}}`."""
    return msgspec.json.encode({"ok": False, "error": error})
