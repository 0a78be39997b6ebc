"""Socket.IO v5 packets, pure: routed by their first bytes, while the payload stays the JSON that came.

Binary data travels beside the JSON, in which placeholders stand for it, and stays there on its way to a service and
back. What clients would choke on (a placeholder without its attachment) is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec

from parley.gateway.engineio.packets import Packet

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = "0123456"

# type, for binary types the number of attachments, optional namespace (a query string after it is allowed), optional
# ack id, then the payload
_PACKET = re.compile(r"(?:[0-4]|[56](\d{1,4})-)(?:(/[^,?]*)(?:\?([^,]*))?(?:,|$))?(\d{0,15})(?=[\[{\"]|$)", re.ASCII)
_arguments = msgspec.json.Decoder(list[msgspec.Raw])
_name = msgspec.json.Decoder(str)


class MalformedPacket(ValueError):
    """Not a packet the protocol knows. `ack_id` is set when at least its sender's ack could be read."""

    def __init__(self, reason: str, namespace: str = "/", ack_id: int | None = None) -> None:
        super().__init__(reason)
        self.namespace = namespace
        self.ack_id = ack_id


class ConnectPacket(NamedTuple):
    """A client asks to join a namespace; `query` is what older clients put after its name."""

    namespace: str
    auth: dict[str, Any]
    query: str


class DisconnectPacket(NamedTuple):
    """A client leaves a namespace."""

    namespace: str


class EventPacket(NamedTuple):
    """An event as a client emitted it; `args` is the JSON array of its arguments without the name."""

    namespace: str
    ack_id: int | None
    event: str
    args: bytes
    attachments: tuple[bytes, ...] = ()


class AckPacket(NamedTuple):
    """A client's answer to an event that asked for one; `args` is a JSON array."""

    namespace: str
    ack_id: int
    args: bytes
    attachments: tuple[bytes, ...] = ()


class Unfinished(NamedTuple):
    """A binary packet that waits for so many attachments."""

    packet: EventPacket | AckPacket
    attachments: int


AnyPacket = ConnectPacket | DisconnectPacket | EventPacket | AckPacket | Unfinished


def parse(text: str) -> AnyPacket:
    """Parse a text packet; of events and acks, the payload is not decoded. Raises `MalformedPacket`."""
    match = _PACKET.match(text)
    if match is None:
        raise MalformedPacket("not a Socket.IO packet")
    kind = text[0]
    namespace = match[2] or "/"
    ack_id = int(match[4]) if match[4] else None
    payload = text[match.end() :]
    if kind in {EVENT, BINARY_EVENT}:
        event = _event(namespace, ack_id, payload)
        return _unfinished(event, match[1]) if kind == BINARY_EVENT else event
    if kind in {ACK, BINARY_ACK}:
        ack = _ack(namespace, ack_id, payload)
        return _unfinished(ack, match[1]) if kind == BINARY_ACK else ack
    if ack_id is not None:
        raise MalformedPacket("an ack id where none belongs", namespace)
    if kind == CONNECT:
        return ConnectPacket(namespace, _object(payload), match[3] or "")
    if kind == DISCONNECT and not payload:
        return DisconnectPacket(namespace)
    raise MalformedPacket("a packet that only servers send", namespace)


def _event(namespace: str, ack_id: int | None, payload: str) -> EventPacket:
    try:
        raw = _arguments.decode(payload.encode())
        event = _name.decode(raw[0])
    except (msgspec.DecodeError, IndexError, RecursionError, UnicodeError) as error:
        raise MalformedPacket(f"invalid payload: {error}", namespace, ack_id) from error
    return EventPacket(namespace, ack_id, event, b"[" + b",".join(bytes(part) for part in raw[1:]) + b"]")


def _ack(namespace: str, ack_id: int | None, payload: str) -> AckPacket:
    if ack_id is None:
        raise MalformedPacket("an ack without an id", namespace)
    try:
        raw = _arguments.decode(payload.encode())
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise MalformedPacket(f"invalid payload: {error}", namespace) from error
    return AckPacket(namespace, ack_id, b"[" + b",".join(bytes(part) for part in raw) + b"]")


def _object(payload: str) -> dict[str, Any]:
    if not payload:
        return {}
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise MalformedPacket("a connect payload that is no object") from error


def _unfinished(packet: EventPacket | AckPacket, attachments: str) -> Unfinished | EventPacket | AckPacket:
    count = int(attachments)
    ack_id = packet.ack_id if isinstance(packet, EventPacket) else None
    try:
        numbers = set(_placeholders(msgspec.json.decode(packet.args)))
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedPacket("invalid payload", packet.namespace, ack_id) from error
    if not all(isinstance(number, int) and 0 <= number < count for number in numbers):
        raise MalformedPacket("a placeholder without its attachment", packet.namespace, ack_id)
    return Unfinished(packet, count) if count else packet


def _placeholders(value: Any) -> Iterator[Any]:
    """The numbers of all placeholders in a decoded payload; anything unhashable counts as None."""
    stack = [value]
    while stack:
        current = stack.pop()
        if isinstance(current, dict):
            fields = cast("dict[str, Any]", current)
            if fields.get("_placeholder") is True:
                number = fields.get("num")
                yield number if type(number) is int else None
            else:
                stack.extend(fields.values())
        elif isinstance(current, list):
            stack.extend(cast("list[Any]", current))


# -- what a server sends -----------------------------------------------------------------------------------------------


def event_packet(
    namespace: str, event: str, args: bytes, attachments: tuple[bytes, ...] = (), ack_id: int | None = None
) -> Packet:
    """An EVENT; `args` is the JSON array of its arguments, with placeholders for the attachments."""
    name = msgspec.json.encode(event)
    body = b"[" + name + (b"," + args[1:] if len(args) > 2 else b"]")
    return Packet.of(_head(EVENT, BINARY_EVENT, attachments, namespace, ack_id) + body, attachments)


def ack_packet(namespace: str, ack_id: int, args: bytes, attachments: tuple[bytes, ...] = ()) -> Packet:
    """An ACK; `args` is a JSON array."""
    return Packet.of(_head(ACK, BINARY_ACK, attachments, namespace, ack_id) + args, attachments)


def connect_packet(namespace: str, body: dict[str, Any] | None) -> Packet:
    """The answer that lets a client in; older clients (revision 3) expect it empty."""
    payload = b"" if body is None else msgspec.json.encode(body)
    return Packet.of(_head(CONNECT, CONNECT, (), namespace, None) + payload)


def connect_error_packet(namespace: str, body: Any) -> Packet:
    """The answer that refuses a client."""
    return Packet.of(_head(CONNECT_ERROR, CONNECT_ERROR, (), namespace, None) + msgspec.json.encode(body))


def disconnect_packet(namespace: str) -> Packet:
    """Ends a client's stay in a namespace."""
    return Packet.of(_head(DISCONNECT, DISCONNECT, (), namespace, None))


def _head(kind: str, binary_kind: str, attachments: tuple[bytes, ...], namespace: str, ack_id: int | None) -> bytes:
    mark = f"{binary_kind}{len(attachments)}-" if attachments else kind
    path = "" if namespace == "/" else f"{namespace},"
    return f"4{mark}{path}{'' if ack_id is None else ack_id}".encode()
