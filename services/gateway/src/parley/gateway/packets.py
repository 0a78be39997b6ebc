"""Socket.IO v5 text packets, pure: events and acks are routed by their first bytes, the payload stays as it came."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

# type, optional namespace (a query string after it is allowed and ignored), optional ack id, then the JSON array
_EVENT = re.compile(r"2(?:(/[^,?]*)(?:\?[^,]*)?,)?(\d{0,15})(?=\[)")
_arguments = msgspec.json.Decoder(list[msgspec.Raw])
_name = msgspec.json.Decoder(str)


class MalformedPacket(ValueError):
    """Not a packet the protocol knows. `ack_id` is set when at least its sender's ack could be read."""

    def __init__(self, reason: str, namespace: str = "/", ack_id: int | None = None) -> None:
        super().__init__(reason)
        self.namespace = namespace
        self.ack_id = ack_id


class EventPacket(NamedTuple):
    """An event as a client emitted it; `args` is the JSON array of its arguments without the name."""

    namespace: str
    ack_id: int | None
    event: str
    args: bytes


def parse_event(text: str) -> EventPacket:
    """Parse a text EVENT packet without decoding its payload. Raises `MalformedPacket`."""
    match = _EVENT.match(text)
    if match is None:
        raise MalformedPacket("not an event packet")
    namespace = match[1] or "/"
    ack_id = int(match[2]) if match[2] else None
    try:
        raw = _arguments.decode(text[match.end() :].encode())
        event = _name.decode(raw[0])
    except (msgspec.DecodeError, IndexError, RecursionError, UnicodeError) as error:
        raise MalformedPacket(f"invalid payload: {error}", namespace, ack_id) from error
    return EventPacket(namespace, ack_id, event, b"[" + b",".join(bytes(part) for part in raw[1:]) + b"]")


def event_text(namespace: str, event: str, payload: bytes) -> str:
    """An EVENT packet with one argument that is already JSON."""
    return f"2{_prefix(namespace)}[{msgspec.json.encode(event).decode()},{payload.decode()}]"


def ack_text(namespace: str, ack_id: int, payload: bytes) -> str:
    """An ACK packet with one argument that is already JSON."""
    return f"3{_prefix(namespace)}{ack_id}[{payload.decode()}]"


def disconnect_text(namespace: str) -> str:
    """A DISCONNECT packet."""
    return f"1{_prefix(namespace)}"


def _prefix(namespace: str) -> str:
    return "" if namespace == "/" else f"{namespace},"
