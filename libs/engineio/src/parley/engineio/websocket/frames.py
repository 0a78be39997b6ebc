"""WebSocket frames (RFC 6455): functions that write a server's, and a reader of clients' frames. Pure.

The reader is a state machine over the bytes of one client. `websocket.protocol` feeds it with what it has read.

| state | bytes that the reader keeps | input | next state |
|---|---|---|---|
| between frames | nothing | part of a frame | inside a frame |
| inside a frame | its bytes so far (`_buffer`) | the rest of it | between frames, with the frame handled as below |
| backlog | whole frames beyond the allowance of this call (`_rest`) | the next call | backlog, or one of the above |
| failed | nothing | anything | failed; `error` tells why |

The effect of a whole frame, while a fragmented message is open (`_fragments`) or none is (section 5.4):

| frame | none open | one open |
|---|---|---|
| text, binary, final | a message | failed, 1002 |
| text, binary, not final | the message is open | failed, 1002 |
| continuation, not final | failed, 1002 | one fragment more |
| continuation, final | failed, 1002 | a message; none is open |
| close, ping, pong (section 5.5) | returned | returned; the message stays open |

Invariants: every byte is copied a bounded number of times, however the bytes are cut into reads; `held` is the number
of bytes that the reader keeps. Section numbers are those of RFC 6455.
"""

from __future__ import annotations

from typing import NamedTuple

from parley.engineio.websocket.deflate import InflateError, inflate

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes (section 5.2)."""

NORMAL, GOING_AWAY, PROTOCOL_ERROR, INVALID_TEXT, POLICY, TOO_BIG, TRY_LATER = 1000, 1001, 1002, 1007, 1008, 1009, 1013
"""Close codes (section 7.4.1; 1013 is registered with IANA)."""

MAX_FRAGMENTS = 64
"""Fragments of one message, besides one per KiB of its content; only an attacker sends more."""
UNLIMITED = 2**62


class Received(NamedTuple):
    """A complete message, or a control frame. The data of text is a `str`, and `bytes` otherwise."""

    opcode: int
    data: str | bytes


class FrameError(Exception):
    """Raised when a client violates the protocol. `code` is the close code for its connection."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """Make one unfragmented, unmasked frame, as servers send them (sections 5.1 and 5.2)."""
    head = 0x80 | opcode | (0x40 if compressed else 0)
    size = len(payload)
    # Section 5.2: the length is in the second byte, or in the two or eight bytes behind it. The mask bit is never set.
    if size < 126:
        return bytes((head, size)) + payload
    if size < 65536:
        return bytes((head, 126, size >> 8, size & 0xFF)) + payload
    return bytes((head, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int = NORMAL) -> bytes:
    """Make a CLOSE frame (section 5.5.1)."""
    return frame(CLOSE, code.to_bytes(2, "big"))


class FrameReader:
    """Turns the bytes of one client into messages. Once it has failed it returns nothing, and `error` tells why."""

    __slots__ = (
        "_buffer", "_compressed", "_content", "_deflate", "_fragments", "_inflated_bytes", "_needed", "_opcode",
        "_position", "_rest", "error", "frames", "held", "limit", "waiting", "worked",
    )  # fmt: skip

    def __init__(self, limit: int, *, deflate: bool = False) -> None:
        self.error: FrameError | None = None
        self.limit = limit
        """The bytes that one message may have. It may be changed at any time."""
        self.waiting = False
        """Whether the last call left frames in the backlog because of its allowance; `feed(b"")` goes on with them."""
        self.held = 0
        """The bytes that the reader keeps: of unfinished frames, open messages and the backlog."""
        self.frames = 0
        """The frames that the last call worked off."""
        self.worked = 0
        """The bytes that the last call worked off, and those that it inflated."""
        self._deflate = deflate
        self._buffer: bytearray | None = None
        self._needed = 0
        self._rest = b""
        self._position = 0
        self._opcode = 0
        self._compressed = False
        self._fragments: list[bytes] | None = None
        self._content = 0
        """The bytes in `_fragments`, counted as they come: to add them up for each fragment would be quadratic."""
        self._inflated_bytes = 0

    def feed(self, data: bytes, frames: int = UNLIMITED, size: int = UNLIMITED) -> list[Received]:
        """Return the messages and control frames that became complete with these bytes, up to the first error.

        At most `frames` frames are worked off, and none is begun once `size` bytes were; the others are the backlog.
        """
        received: list[Received] = []
        if self.error is not None:
            return received
        position = 0
        if (buffer := self._buffer) is not None:
            buffer += data
            # Bytes are only gathered until the frame that they begin can be whole.
            if len(buffer) < self._needed:
                # The head is not parsed again for each of the reads that a large frame comes in.
                self.held = self._content + len(buffer)
                self.frames, self.worked = 0, len(data)
                return received
            data, self._buffer = bytes(buffer), None
        elif self.waiting:
            data, position = (self._rest[self._position :] + data, 0) if data else (self._rest, self._position)
            self._rest = b""
        # Inflated bytes count like those that came: a small frame may unpack to a large message.
        self._inflated_bytes = 0
        self.waiting = False
        begin, left = position, frames
        try:
            while left and position - begin + self._inflated_bytes < size:
                if (end := self._frame(data, position, received)) == position:
                    break
                position = end
                left -= 1
            else:
                self.waiting = position < len(data)
        except FrameError as error:
            # The traceback holds this reader and what it was fed: a cycle, which would be collected late.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            self.error = error
            self._fragments, self._content, self.held = None, 0, 0
            return received
        self.frames, self.worked = frames - left, position - begin + self._inflated_bytes
        if position == len(data):
            self.held = self._content
        else:
            self._keep(data, position)
        return received

    def _keep(self, data: bytes, position: int) -> None:
        """Keep the bytes that are not worked off yet."""
        self.held = self._content + len(data) - position
        # Nothing whole is left, so this is the beginning of a frame, which grows with what comes next.
        if not self.waiting:
            self._buffer = bytearray(data[position:])
        elif position > len(data) // 2:
            self._rest, self._position = data[position:], 0
        else:
            # To cut off the front of a long backlog on each call would be quadratic, so that is put off until half.
            self._rest, self._position = data, position

    def _frame(self, buffer: bytes, start: int, received: list[Received]) -> int:
        """Take the frame that begins at `start`. Return where the next one begins, or `start` if it is incomplete."""
        available = len(buffer) - start
        if available < 2:
            self._needed = 2
            return start
        # Section 5.2: a byte of final bit, reserved bits and opcode; a byte of mask bit and length; then, if there is
        # one, a longer length of 2 or 8 bytes; the mask; the payload.
        first, second = buffer[start], buffer[start + 1]
        opcode = first & 0x0F
        # Section 5.2: 3 to 7 and 11 to 15 are reserved, and no extension that is spoken here has any use for them.
        if opcode > PONG or BINARY < opcode < CLOSE:
            raise FrameError(PROTOCOL_ERROR, "reserved opcode")
        if not second & 0x80:  # section 5.1
            raise FrameError(PROTOCOL_ERROR, "frame without a mask")
        size, head = second & 0x7F, 2
        if opcode >= CLOSE and (size > 125 or not first & 0x80):  # section 5.5
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
        # Before the payload has come, so that a too large one is not waited for.
        if opcode < CLOSE and size + self._content > self.limit:
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
        # RFC 7692, section 6: RSV1 marks a compressed message, on its first frame.
        if first & 0x30 or (first & 0x40 and not (self._deflate and opcode in {TEXT, BINARY})):
            raise FrameError(PROTOCOL_ERROR, "reserved bit")
        # Section 5.4: a continuation only while a message is open, and another data frame only while none is.
        if opcode < CLOSE and (opcode == CONTINUATION) == (self._fragments is None):
            raise FrameError(PROTOCOL_ERROR, "fragment out of place")

    def _data(self, first: int, opcode: int, payload: bytes, received: list[Received]) -> None:
        final = first & 0x80
        if opcode != CONTINUATION:
            self._opcode, self._compressed = opcode, bool(first & 0x40)
            if not final:
                self._fragments, self._content = [payload], len(payload)
                return
        elif (fragments := self._fragments) is not None:
            fragments.append(payload)
            self._content += len(payload)
            if not final:
                # By number as well: each takes the memory of an object, however few bytes it has.
                if len(fragments) > MAX_FRAGMENTS + self._content // 1024:
                    raise FrameError(POLICY, "too many fragments")
                return
            payload, self._fragments, self._content = b"".join(fragments), None, 0
        received.append(_message(self._opcode, self._inflated(payload) if self._compressed else payload))

    def _inflated(self, payload: bytes) -> bytes:
        try:
            inflated = inflate(payload, self.limit)
        except InflateError as error:
            raise FrameError(TOO_BIG if error.too_big else PROTOCOL_ERROR, str(error)) from error
        self._inflated_bytes += len(inflated)
        return inflated


def _unmask(mask: bytes, payload: bytes) -> bytes:
    """Unmask a payload (section 5.3), by one XOR of two large integers: many times faster than a loop over bytes."""
    size = len(payload)
    if not size:
        return payload
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _message(opcode: int, payload: bytes) -> Received:
    if opcode == BINARY:
        return Received(BINARY, payload)
    try:
        # Only once the message is whole: a character may be cut by a fragment.
        return Received(TEXT, payload.decode())
    except UnicodeDecodeError as error:
        raise FrameError(INVALID_TEXT, "text that is not UTF-8") from error  # section 8.1


def _control(opcode: int, payload: bytes) -> Received:
    """Check a control frame. A CLOSE has no payload, or a code and a reason (sections 5.5.1 and 7.4)."""
    if opcode == CLOSE and len(payload) == 1:
        raise FrameError(PROTOCOL_ERROR, "malformed close frame")
    if opcode == CLOSE and payload:
        code = int.from_bytes(payload[:2], "big")
        # Section 7.4: these three must never be sent, and 3000 to 4999 are for libraries and applications.
        if not (1000 <= code <= 1014 and code not in {1004, 1005, 1006}) and not 3000 <= code <= 4999:
            raise FrameError(PROTOCOL_ERROR, "invalid close code")
        try:
            payload[2:].decode()
        except UnicodeDecodeError as error:
            raise FrameError(INVALID_TEXT, "close reason that is not UTF-8") from error
    return Received(opcode, payload)
