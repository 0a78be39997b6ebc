"""WebSocket frames (RFC 6455), pure: what a server writes, and a reader of what clients send."""

from __future__ import annotations

from typing import NamedTuple

from parley.gateway.engineio.websocket.deflate import InflateError, inflate

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

NORMAL, GOING_AWAY, PROTOCOL_ERROR, INVALID_TEXT, POLICY, TOO_BIG = 1000, 1001, 1002, 1007, 1008, 1009
"""Close codes."""

MAX_FRAGMENTS = 1024
"""Fragments of one message; more are an attack on memory, not a message."""


class Received(NamedTuple):
    """A complete message, or a control frame. Text is a `str`, everything else `bytes`."""

    opcode: int
    data: str | bytes


class FrameError(Exception):
    """The client broke the protocol; `code` is what the connection is closed with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """One unfragmented, unmasked frame, as servers send them."""
    head = 0x80 | opcode | (0x40 if compressed else 0)
    size = len(payload)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 65536:
        return bytes((head, 126, size >> 8, size & 0xFF)) + payload
    return bytes((head, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int = NORMAL) -> bytes:
    """A CLOSE frame."""
    return frame(CLOSE, code.to_bytes(2, "big"))


class FrameReader:
    """Turns the bytes of one client into messages. Once it has failed it stays silent, and `error` says why."""

    __slots__ = ("_buffer", "_compressed", "_deflate", "_fragments", "_limit", "_needed", "_opcode", "error")

    def __init__(self, limit: int, *, deflate: bool = False) -> None:
        self.error: FrameError | None = None
        self._limit = limit
        self._deflate = deflate
        self._buffer: bytearray | None = None
        self._needed = 0
        self._opcode = 0
        self._compressed = False
        self._fragments: list[bytes] | None = None

    def feed(self, data: bytes) -> list[Received]:
        """What became complete with these bytes, up to the first error."""
        received: list[Received] = []
        if self.error is not None:
            return received
        if (buffer := self._buffer) is not None:
            buffer += data
            if len(buffer) < self._needed:
                # Not looked at again for each of the pieces that a large frame may come in.
                return received
            data = bytes(buffer)
        position = 0
        try:
            while (end := self._frame(data, position, received)) > position:
                position = end
        except FrameError as error:
            self.error = error
            self._buffer = self._fragments = None
            return received
        self._buffer = bytearray(data[position:]) if position < len(data) else None
        return received

    def _frame(self, buffer: bytes, start: int, received: list[Received]) -> int:
        """Take one frame that begins at `start`; returns where the next one begins, or `start` without a whole one."""
        available = len(buffer) - start
        if available < 2:
            self._needed = 2
            return start
        first, second = buffer[start], buffer[start + 1]
        opcode = first & 0x0F
        if opcode > PONG or BINARY < opcode < CLOSE:
            raise FrameError(PROTOCOL_ERROR, "reserved opcode")
        if not second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "frame without a mask")
        size, head = second & 0x7F, 2
        if opcode >= CLOSE and (size > 125 or not first & 0x80):
            raise FrameError(PROTOCOL_ERROR, "long or fragmented control frame")
        self._check(first, opcode)
        if size == 126:
            if available < 4:
                self._needed = 4
                return start
            size, head = (buffer[start + 2] << 8) | buffer[start + 3], 4
        elif size == 127:
            if available < 10:
                self._needed = 10
                return start
            size, head = int.from_bytes(buffer[start + 2 : start + 10], "big"), 10
        if opcode < CLOSE and size + self._held() > self._limit:
            raise FrameError(TOO_BIG, "message too big")
        if available < head + 4 + size:
            self._needed = head + 4 + size
            return start
        begin = start + head + 4
        payload = _unmask(buffer[begin - 4 : begin], buffer[begin : begin + size])
        if opcode >= CLOSE:
            received.append(_control(opcode, payload))
        else:
            self._data(first, opcode, payload, received)
        return begin + size

    def _check(self, first: int, opcode: int) -> None:
        if first & 0x30 or (first & 0x40 and not (self._deflate and opcode in {TEXT, BINARY})):
            raise FrameError(PROTOCOL_ERROR, "reserved bit")
        if opcode < CLOSE and (opcode == CONTINUATION) == (self._fragments is None):
            raise FrameError(PROTOCOL_ERROR, "fragment out of place")

    def _held(self) -> int:
        return sum(map(len, self._fragments)) if self._fragments else 0

    def _data(self, first: int, opcode: int, payload: bytes, received: list[Received]) -> None:
        final = first & 0x80
        if opcode != CONTINUATION:
            self._opcode, self._compressed = opcode, bool(first & 0x40)
            if not final:
                self._fragments = [payload]
                return
        elif (fragments := self._fragments) is not None:
            fragments.append(payload)
            if not final:
                if len(fragments) > MAX_FRAGMENTS:
                    raise FrameError(POLICY, "too many fragments")
                return
            payload, self._fragments = b"".join(fragments), None
        received.append(_message(self._opcode, self._inflated(payload)))

    def _inflated(self, payload: bytes) -> bytes:
        if not self._compressed:
            return payload
        try:
            return inflate(payload, self._limit)
        except InflateError as error:
            raise FrameError(TOO_BIG if error.too_big else PROTOCOL_ERROR, str(error)) from error


def _unmask(mask: bytes, payload: bytes) -> bytes:
    size = len(payload)
    if not size:
        return payload
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _message(opcode: int, payload: bytes) -> Received:
    if opcode == BINARY:
        return Received(BINARY, payload)
    try:
        return Received(TEXT, payload.decode())
    except UnicodeDecodeError as error:
        raise FrameError(INVALID_TEXT, "text that is not UTF-8") from error


def _control(opcode: int, payload: bytes) -> Received:
    if opcode == CLOSE and len(payload) == 1:
        raise FrameError(PROTOCOL_ERROR, "malformed close frame")
    if opcode == CLOSE and payload:
        code = int.from_bytes(payload[:2], "big")
        if not (1000 <= code <= 1014 and code not in {1004, 1005, 1006}) and not 3000 <= code <= 4999:
            raise FrameError(PROTOCOL_ERROR, "invalid close code")
        try:
            payload[2:].decode()
        except UnicodeDecodeError as error:
            raise FrameError(INVALID_TEXT, "close reason that is not UTF-8") from error
    return Received(opcode, payload)
