"""Socket.IO v5 packets, pure. Only a packet's head is parsed; its payload stays the bytes that came.

The head (type, number of attachments, namespace, ack id) says whom a packet is for and which emit it answers. Whatever
is wrong with the payload behind it is its sender's error and no reason to close a transport. The gateway reads the
event's name from the payload, and how deeply it is nested; the service behind the namespace decodes it. Binary data
travel beside the JSON, in which placeholders stand for them.

Socket.IO v5 protocol, "Packet encoding" and "Packet types".
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec

from parley.common.nesting import MAX_DEPTH, too_deep
from parley.engineio.packets import Packet
from parley.engineio.request import MAX_QUERY

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = "0123456"
EVENTS, _ACKS = (EVENT, BINARY_EVENT), (ACK, BINARY_ACK)
_WITH_ARGUMENTS = (*EVENTS, *_ACKS)

# type, for binary types the number of attachments, optional namespace (a query string after it is allowed), ack id
_HEAD = re.compile(r"(?:[0-4]|[56](\d{1,4})-)(?:(/[^,?]{0,511})(?:\?([^,]*))?(?:,|$))?(\d+)?", re.ASCII | re.DOTALL)
# "[", the name, and what follows it up to the first argument or to the end
# Possessive quantifiers (`*+`): a name of a megabyte without an end costs one pass instead of one per character.
_NAME = re.compile(
    r'\[[ \t\n\r]*+"([^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+)"[ \t\n\r]*+'
    r"(?:,[ \t\n\r]*+(?!\]|\Z)|\][ \t\n\r]*+\Z)",
    re.DOTALL,
)
USUAL_EVENT = re.compile(
    r'2(?:(/[^,?"\[]{0,511}),)?(\d{1,15})?(?=(\[))\["([^"\\\x00-\x1f]*+)",(?=[^ \t\n\r\]])', re.ASCII | re.DOTALL
)
"""How nearly all packets begin: an event without attachments, with a name without escapes, and with an argument.

Its groups are the namespace, the ack id, where the payload begins, and the name. `read_head` and `read_event` read the
same from such a packet in two steps."""
_text = msgspec.json.Decoder(str)
_as_it_came = msgspec.json.Decoder(dict[str, msgspec.Raw])
MAX_ACK_DIGITS = 15
"""Digits of an ack id. Greater numbers are not exact in JavaScript."""
CURSORS = "cursors"
"""The field of CONNECT that may be long. It is kept as bytes until it is needed."""
_TEXTS = ("token", "pid", "offset")
MAX_SAID = 24 * 1024
"""Bytes of the other fields: more than a handshake may have (`admission.handshake`), however they are written."""


class MalformedPacket(ValueError):
    """The head is not that of a packet that a client of the protocol sends."""


class InvalidPayload(ValueError):
    """The payload of a packet with a valid head is not what it should be. The text says why."""


class TooMuchSaid(InvalidPayload):
    """What a client says at CONNECT is too long to be looked at."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """What comes before a packet's payload, which begins at `start`."""

    kind: str
    namespace: str
    ack_id: int | None
    start: int
    attachments: int = 0
    query: str = ""
    problem: str = ""
    """What is wrong with the packet although its head can be read. Its sender is told."""


class EventPacket(msgspec.Struct, frozen=True):
    """An event as a client emitted it. `args` is the JSON array of its arguments without the name."""

    namespace: str
    ack_id: int | None
    event: str
    args: bytes
    attachments: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its arguments and attachments."""
        return len(self.args) + sum(map(len, self.attachments)) if self.attachments else len(self.args)


class AckPacket(msgspec.Struct, frozen=True):
    """A client's answer to an event that asked for one. `args` is a JSON array."""

    namespace: str
    ack_id: int
    args: bytes
    attachments: tuple[bytes, ...] = ()


# -- what a client sends -----------------------------------------------------------------------------------------------


def read_head(text: str) -> Head:
    """Return the head of a text packet. Raises `MalformedPacket`."""
    match = _HEAD.match(text)
    if match is None:
        raise MalformedPacket("not a Socket.IO packet")
    attachments, namespace, query, ack_id = match.groups()
    kind, start, problem = text[0], match.end(), ""
    # A long query would be kept with the connection, which nobody counts.
    if query and len(query) > MAX_QUERY:
        raise MalformedPacket("the query behind a namespace is too long")
    # Socket.IO v5 protocol, "Packet types": these have an array, and CONNECT and DISCONNECT have no id.
    if kind in _WITH_ARGUMENTS:
        if not text.startswith("[", start):
            raise MalformedPacket("an event or an ack without arguments")
        if ack_id is None and kind in _ACKS:
            raise MalformedPacket("an ack without an id")
    elif ack_id is not None or kind == CONNECT_ERROR:
        raise MalformedPacket("an ack id where none belongs, or a packet that only servers send")
    # The packet itself is well-formed, so its sender is told and keeps the transport.
    if ack_id is not None and len(ack_id) > MAX_ACK_DIGITS:
        ack_id, problem = None, f"An ack id has at most {MAX_ACK_DIGITS} digits."
    return Head(
        kind,
        namespace or "/",
        None if ack_id is None else int(ack_id),
        start,
        int(attachments) if attachments else 0,
        query or "",
        problem,
    )


def read_event(text: str, start: int) -> tuple[str, bytes]:
    """Return an event's name, and its arguments as a JSON array that nobody has checked. Raises `InvalidPayload`."""
    match = _NAME.match(text, start)
    if match is None:
        raise InvalidPayload("An event begins with its name, which is a string.")
    event = _encodable(match[1])
    if "\\" in event:
        try:
            event = _text.decode(f'"{event}"')
        except (msgspec.DecodeError, UnicodeError) as error:
            raise InvalidPayload(f"The event's name is malformed: {error}") from error
    arguments = text[match.end() :]
    return event, _checked("[" + arguments) if arguments else b"[]"


def read_usual_event(match: re.Match[str]) -> EventPacket:
    """Return the event of a packet that `USUAL_EVENT` matches. Raises `InvalidPayload`."""
    namespace, ack_id, event = match.group(1, 2, 4)
    args = _checked("[" + match.string[match.end() :])
    return EventPacket(namespace or "/", None if ack_id is None else int(ack_id), _encodable(event), args)


def read_ack(text: str, start: int) -> bytes:
    """Return the arguments of an ack, a JSON array that nobody has checked. Raises `InvalidPayload`."""
    return _checked(text[start:])


def _encodable(event: str) -> str:
    if not event.isascii():
        _encoded(event)
    return event


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidPayload("Text may not hold half of a surrogate pair.") from error


def _checked(payload: str) -> bytes:
    encoded = _encoded(payload)
    # Before any decoder sees it: deep nesting costs a decoder its stack.
    if too_deep(encoded):
        raise InvalidPayload(f"A payload may be nested {MAX_DEPTH} levels deep.")
    return encoded


def read_connect(text: str, start: int) -> dict[str, Any]:
    """Return what a client says at CONNECT; an empty payload is an empty object. Raises `InvalidPayload`.

    Cursors are checked to be JSON and stay `msgspec.Raw`: as Python objects they might take twenty times as much
    memory, and one that cannot be decoded, such as 1e400, concerns its room alone.
    """
    payload = _checked(text[start:])
    if not payload:
        return {}
    try:
        fields = _as_it_came.decode(payload)
        said = sum(len(memoryview(raw)) for name, raw in fields.items() if name not in _TEXTS and name != CURSORS)
        if said + len(fields) > MAX_SAID:
            raise TooMuchSaid("Query, auth and headers are too long together.")
        cursors = fields.pop(CURSORS, None)
        auth: dict[str, Any] = {name: msgspec.json.decode(raw) for name, raw in fields.items()}
        if cursors is not None:
            with suppress(msgspec.ValidationError):  # that they are no object is the same as none
                _as_it_came.decode(cursors)
            auth[CURSORS] = msgspec.Raw(bytes(cursors))
        # The bytes of these fields are not counted above, so they are only kept if they are text, which has limits of
        # its own.
        auth |= {name: None for name in _TEXTS if name in auth and not isinstance(auth[name], str)}
        return auth
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidPayload(f"The payload of CONNECT is no object: {error}") from error


# -- what a server sends -----------------------------------------------------------------------------------------------


def event_packet(
    namespace: str, event: str, args: bytes, attachments: tuple[bytes, ...] = (), ack_id: int | None = None
) -> Packet:
    """Make an EVENT. `args` is the JSON array of its arguments, with placeholders for the attachments."""
    name = msgspec.json.encode(event)
    body = b"[" + name + (b"," + args[1:] if len(args) > 2 else b"]")
    return Packet.of(_head(EVENT, BINARY_EVENT, attachments, namespace, ack_id) + body, attachments)


def single_event_packet(namespace: str, event: str, argument: bytes, attachments: tuple[bytes, ...] = ()) -> Packet:
    """Make an EVENT with a single argument, which is JSON with placeholders for the attachments."""
    if attachments:
        return event_packet(namespace, event, b"[" + argument + b"]", attachments)
    return Packet.text(b"%b%b]" % (_event_beginning(namespace, event), argument))


@lru_cache(maxsize=1024)  # what services send over and over
def _event_beginning(namespace: str, event: str) -> bytes:
    return _head(EVENT, EVENT, (), namespace, None) + b"[" + msgspec.json.encode(event) + b","


def single_ack_packet(namespace: str, ack_id: int, argument: bytes, attachments: tuple[bytes, ...] = ()) -> Packet:
    """Make an ACK with a single argument, which is JSON without the array's brackets."""
    if attachments:
        return ack_packet(namespace, ack_id, b"[" + argument + b"]", attachments)
    return Packet.text(b"%b%d[%b]" % (_ack_beginning(namespace), ack_id, argument))


@lru_cache(maxsize=1024)
def _ack_beginning(namespace: str) -> bytes:
    return _head(ACK, ACK, (), namespace, None)


def ack_packet(namespace: str, ack_id: int, args: bytes, attachments: tuple[bytes, ...] = ()) -> Packet:
    """Make an ACK. `args` is the JSON array of its arguments."""
    return Packet.of(_head(ACK, BINARY_ACK, attachments, namespace, ack_id) + args, attachments)


def connect_packet(namespace: str, body: dict[str, Any] | None) -> Packet:
    """Make the CONNECT that lets a client in. Clients of revision 3 expect it without a payload."""
    payload = b"" if body is None else msgspec.json.encode(body)
    return Packet.of(_head(CONNECT, CONNECT, (), namespace, None) + payload)


def connect_error_packet(namespace: str, body: Any) -> Packet:
    """Make the CONNECT_ERROR that refuses a client."""
    return Packet.of(_head(CONNECT_ERROR, CONNECT_ERROR, (), namespace, None) + msgspec.json.encode(body))


def disconnect_packet(namespace: str) -> Packet:
    """Make the DISCONNECT that ends a client's connection in a namespace."""
    return Packet.of(_head(DISCONNECT, DISCONNECT, (), namespace, None))


def _head(kind: str, binary_kind: str, attachments: tuple[bytes, ...], namespace: str, ack_id: int | None) -> bytes:
    mark = f"{binary_kind}{len(attachments)}-" if attachments else kind
    path = "" if namespace == "/" else f"{namespace},"
    # The 4 in front is Engine.IO's packet type "message" (Engine.IO v4 protocol, "Packet types").
    return f"4{mark}{path}{'' if ack_id is None else ack_id}".encode()
