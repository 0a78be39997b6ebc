"""Engine.IO packets and polling payloads, in revisions 4 and 3 of the protocol. Pure.

Revision 4 (Engine.IO v4 protocol, "HTTP long-polling") separates the packets of a payload with a record separator and
marks base64 with `b`. Revision 3 writes each packet's length first, counted in UTF-16 units as in JavaScript, or, for
clients that take binary payloads, as decimal digits, one per byte, between a mark (0 text, 1 binary) and 255.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from parley.engineio.websocket.deflate import THRESHOLD, deflate
from parley.engineio.websocket.frames import BINARY, TEXT, frame

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"
"""The types of packets (Engine.IO v4 protocol, "Protocol")."""

OVERHEAD = 64
"""Bytes that a waiting packet counts for besides its data, so that a bound on bytes also bounds their number."""

_SEPARATOR = "\x1e"
_MAX_LENGTH_DIGITS = 10


class MalformedPayload(ValueError):
    """Bytes that are not an Engine.IO packet or payload."""


class TooManyPackets(MalformedPayload):
    """A payload with more packets than allowed."""


class Incoming(NamedTuple):
    """A packet of a client: its type, and its data without that."""

    kind: str
    data: str | bytes


class Part(NamedTuple):
    """One Engine.IO packet of a `Packet`: the opcode of its frame, and its UTF-8 or its bytes.

    The data of a text packet begins with the packet's type; a binary packet is a MESSAGE without its type.
    """

    opcode: int
    data: bytes


# A named tuple's own constructor is a Python function, which would cost as much as all the rest of `Packet.text`.
_new_part: Callable[[type[Part], tuple[int, bytes]], Part] = cast("Any", tuple.__new__)


class Packet:
    """Engine.IO packets that are sent as one piece: a text packet and its binary packets, or several such.

    It may be sent to any number of clients. Each encoding is made once, when the first client needs it.
    """

    __slots__ = ("_encodings", "_shared_frames", "parts", "receivers", "size")

    def __init__(self, *parts: Part) -> None:
        self.parts = parts
        # Nearly all packets have one part, and they are made by the ten thousand.
        self.size = (
            len(parts[0].data) + OVERHEAD if len(parts) == 1 else sum(len(part.data) + OVERHEAD for part in parts)
        )
        self.receivers = 1
        """How many sessions it was sent to at once. While it waits for several, its bytes are there once."""
        self._shared_frames = b""
        self._encodings: dict[tuple[int, bool], bytes] | None = None

    @property
    def weight(self) -> int:
        """The memory that it takes in the queue of each of its receivers, in bytes."""
        return self.size if self.receivers == 1 else OVERHEAD + self.size // self.receivers

    def cut(self, parts: int) -> tuple[Packet, Packet]:
        """Return its first parts and the rest as two packets."""
        halves = Packet(*self.parts[:parts]), Packet(*self.parts[parts:])
        for half in halves:
            # Both halves wait for as many receivers as the whole did.
            half.receivers = self.receivers
        return halves

    @classmethod
    def of(cls, text: bytes, attachments: tuple[bytes, ...] = ()) -> Packet:
        """Make a packet of a text, which begins with its type, and its attachments."""
        if not attachments:
            return cls(Part(TEXT, text))
        return cls(Part(TEXT, text), *(Part(BINARY, data) for data in attachments))

    @classmethod
    def text(cls, text: bytes) -> Packet:
        """Make a packet of a text, which begins with its type. It does what `of` does, only faster."""
        return cls(_new_part(Part, (TEXT, text)))

    @classmethod
    def joined(cls, packets: Sequence[Packet]) -> Packet:
        """Make one packet of several, in their order."""
        return packets[0] if len(packets) == 1 else cls(*(part for packet in packets for part in packet.parts))

    def frames(self, revision: int = 4, *, compress: bool = False) -> bytes:
        """Return the packet as WebSocket frames for a client of this revision."""
        # The encoding of nearly all clients has a slot of its own; a dict would cost as much as a small frame.
        if revision == 4 and not compress:
            if not self._shared_frames:
                self._shared_frames = self._framed(revision, compress=False)
            return self._shared_frames
        if self._encodings is None:
            self._encodings = {}
        key = revision, compress
        if (found := self._encodings.get(key)) is None:
            found = self._encodings[key] = self._framed(revision, compress=compress)
        return found

    def _framed(self, revision: int, *, compress: bool) -> bytes:
        if len(self.parts) == 1 and self.parts[0].opcode == TEXT:
            return _frame(TEXT, self.parts[0].data, compress=compress)
        # Revision 3 has the packet's type, as a byte, in front of binary data as well.
        mark = b"\x04" if revision == 3 else b""
        return b"".join(
            _frame(opcode, data if opcode == TEXT else mark + data, compress=compress) for opcode, data in self.parts
        )


PING_PACKET = Packet.of(PING.encode())
PONG_PACKET = Packet.of(PONG.encode())
CLOSE_PACKET = Packet.of(CLOSE.encode())
NOOP_PACKET = Packet.of(NOOP.encode())


def _frame(opcode: int, payload: bytes, *, compress: bool) -> bytes:
    if compress and len(payload) >= THRESHOLD:
        return frame(opcode, deflate(payload), compressed=True)
    return frame(opcode, payload)


# -- WebSocket messages ------------------------------------------------------------------------------------------------


def parse_message(message: str | bytes, revision: int) -> Incoming:
    """Return the packet in one WebSocket message. Raises `MalformedPayload`."""
    if isinstance(message, str):
        return _text_packet(message, revision)
    if revision == 4:
        return Incoming(MESSAGE, message)
    # Revision 3 puts the type in front of binary data too, as a byte and not as a digit.
    if not message or message[0] > 6:
        raise MalformedPayload("unknown packet type")
    return Incoming(str(message[0]), message[1:])


def _text_packet(text: str, revision: int) -> Incoming:
    kind = text[:1]
    # Base64, for clients that cannot take binary data: in revision 3 the type follows the `b`.
    if kind == "b":
        if revision == 4:
            return Incoming(MESSAGE, _from_base64(text[1:]))
        if text[1:2] not in _KINDS:
            raise MalformedPayload("unknown packet type")
        return Incoming(text[1], _from_base64(text[2:]))
    if kind not in _KINDS:
        raise MalformedPayload("unknown packet type")
    return Incoming(kind, text[1:])


_KINDS = frozenset("0123456")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedPayload("invalid base64") from error


# -- polling payloads --------------------------------------------------------------------------------------------------


def encode_payload(packets: Sequence[Packet], revision: int, *, base64_only: bool) -> tuple[bytes, bool]:
    """Return the body of a poll's answer, and whether it is binary, as in revision 3 for clients that take it."""
    parts = [part for packet in packets for part in packet.parts]
    if revision == 4:
        return _SEPARATOR.encode().join(
            data if opcode == TEXT else b"b" + base64.b64encode(data) for opcode, data in parts
        ), False
    if not base64_only and any(opcode == BINARY for opcode, _ in parts):
        return b"".join(
            _marked_v3(0, data) if opcode == TEXT else _marked_v3(1, b"\x04" + data) for opcode, data in parts
        ), True
    return "".join(
        _counted_v3(data.decode() if opcode == TEXT else "b4" + base64.b64encode(data).decode())
        for opcode, data in parts
    ).encode(), False


def _counted_v3(text: str) -> str:
    return f"{len(text.encode('utf-16-le')) // 2}:{text}"


def _marked_v3(mark: int, data: bytes) -> bytes:
    return bytes([mark, *(int(digit) for digit in str(len(data))), 255]) + data


def decode_payload(body: bytes, revision: int, *, binary: bool, limit: int) -> list[Incoming]:
    """Return the packets in the body of a POST. Raises `MalformedPayload`, `TooManyPackets` beyond `limit`."""
    if revision == 3 and binary:
        return _decode_binary_v3(body, limit)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MalformedPayload("text that is not UTF-8") from error
    # Split no further than needed to know that there are too many.
    parts = text.split(_SEPARATOR, limit) if revision == 4 else _split_v3(text, limit)
    if len(parts) > limit:
        raise TooManyPackets(f"more than {limit} packets in one request")
    return [_text_packet(part, revision) for part in parts]


def _split_v3(text: str, limit: int) -> list[str]:
    # Lengths count UTF-16 units, so the text is cut in that encoding, two bytes per unit.
    units = text.encode("utf-16-le")
    parts: list[str] = []
    position = 0
    while position < len(units):
        if len(parts) >= limit:
            raise TooManyPackets(f"more than {limit} packets in one request")
        # Ten digits at most: to read a number that is a megabyte of digits would take seconds.
        colon = units.find(b":\x00", position, position + 2 * _MAX_LENGTH_DIGITS + 2)
        digits = units[position:colon].decode("utf-16-le", "replace") if colon >= 0 else ""
        if not (digits.isascii() and digits.isdigit()):
            raise MalformedPayload("packet without its length")
        position = colon + 2 + 2 * int(digits)
        if position > len(units):
            raise MalformedPayload("packet shorter than its length")
        try:
            parts.append(units[colon + 2 : position].decode("utf-16-le"))
        except UnicodeDecodeError as error:
            raise MalformedPayload("packet cut inside a character") from error
    if not parts:
        raise MalformedPayload("empty payload")
    return parts


def _decode_binary_v3(body: bytes, limit: int) -> list[Incoming]:
    packets: list[Incoming] = []
    position = 0
    while position < len(body):
        if len(packets) >= limit:
            raise TooManyPackets(f"more than {limit} packets in one request")
        end = body.find(b"\xff", position, position + 2 + _MAX_LENGTH_DIGITS)
        digits = body[position + 1 : end] if end > position + 1 else b""
        if body[position] > 1 or not digits or max(digits) > 9:
            raise MalformedPayload("packet without its length")
        begin, position = end + 1, end + 1 + int("".join(map(str, digits)))
        if position > len(body):
            raise MalformedPayload("packet shorter than its length")
        packets.append(_binary_packet_v3(body[begin:position], text=body[begin - len(digits) - 2] == 0))
    if not packets:
        raise MalformedPayload("empty payload")
    return packets


def _binary_packet_v3(data: bytes, *, text: bool) -> Incoming:
    if not text:
        return parse_message(data, 3)
    try:
        return _text_packet(data.decode(), 3)
    except UnicodeDecodeError as error:
        raise MalformedPayload("text that is not UTF-8") from error
