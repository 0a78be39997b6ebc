"""What clients emit on its way to a service, and the acks on their way back."""

from __future__ import annotations

from typing import Any

import msgspec

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity

RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names that Socket.IO clients and servers keep for themselves."""


class Command(Wire, frozen=True):
    """One event a client emitted; `tag` names it in the ack.

    `args` is the JSON array of its arguments, with placeholders for the attachments.
    """

    tag: int
    event: str
    args: bytes
    correlation: str
    attachments: tuple[bytes, ...] = ()


class ConnectionCommands(Wire, frozen=True):
    """What one connection sent since its last batch was answered, in the order it was sent.

    `handshake` and `data` are encoded: a `Handshake`, and a map of what services keep with the connection.
    """

    sid: str
    identity: Identity
    commands: list[Command]
    handshake: bytes = b""
    data: bytes = b""


class CommandBatch(Wire, frozen=True):
    """One loop tick of a gateway's commands for one namespace."""

    gateway: str
    namespace: str
    conversations: list[ConnectionCommands]


class Ack(Wire, frozen=True):
    """The outcome of the command with this tag: the JSON that becomes the arguments of the client's ack.

    It is one object, or what a controller answered itself, with placeholders for the attachments. `data_changes` are
    `DataChanges`, encoded, where what is kept with the connection has changed.
    """

    tag: int
    payload: bytes
    ok: bool
    attachments: tuple[bytes, ...] = ()
    data_changes: bytes | None = None


class DataChanges(Wire, frozen=True):
    """What a controller did to the map that is kept with a connection, by key: others may have changed other keys.

    Values are encoded.
    """

    values: dict[str, bytes]
    removed: list[str] = []


class AckBatch(Wire, frozen=True):
    """The outcomes that became ready for one gateway in one loop tick."""

    acks: list[Ack]


def ok_payload(result: Any) -> bytes:
    """The JSON ack of an accepted command: `{"ok": true, ...result}`. `result` is a mapping, a struct or None."""
    if result is None:
        return b'{"ok":true}'
    body = msgspec.json.encode(result)
    if body[:1] != b"{":
        raise TypeError(f"a controller returns an object or None, not {type(result).__name__}")
    return b'{"ok":true}' if body == b"{}" else b'{"ok":true,' + body[1:]


def error_payload(error: dict[str, Any]) -> bytes:
    """The JSON ack of a rejected command: `{"ok": false, "error": {code, message, retryable}}`."""
    return msgspec.json.encode({"ok": False, "error": error})
