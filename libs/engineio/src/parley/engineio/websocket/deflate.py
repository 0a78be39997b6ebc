"""permessage-deflate (RFC 7692), always without context takeover (section 7.1.1). Pure.

Without a context between messages, a frame that is compressed once is valid for every client of a room, and an idle
connection keeps no compressor, which would take 256 KiB.
"""

from __future__ import annotations

import zlib

THRESHOLD = 1024
"""Bytes from which on a message is compressed; for shorter ones the time is worth more than the bytes."""
ACCEPTED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

_WINDOW = "server_max_window_bits"
_TAIL = b"\x00\x00\xff\xff"


MAX_OFFERS = 1024
"""Characters of a header with offers; a longer one is ignored. Clients send one or two offers of 50."""


class InflateError(ValueError):
    """A message that is not compressed properly, or too big once it is unpacked."""

    def __init__(self, reason: str, *, too_big: bool) -> None:
        super().__init__(reason)
        self.too_big = too_big


def negotiate(offers: str) -> str | None:
    """Return the answer to a `Sec-WebSocket-Extensions` header, or None when no offer in it can be accepted."""
    if len(offers) > MAX_OFFERS:
        return None
    # Section 5.1: the client lists offers in the order in which it prefers them, and the first good one is taken.
    for offer in offers.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == "permessage-deflate" and all(_acceptable(parameter) for parameter in parameters):
            asked = any(parameter.partition("=")[0].strip() == _WINDOW for parameter in parameters)
            return f"{ACCEPTED}; {_WINDOW}=15" if asked else ACCEPTED
    return None


def _acceptable(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    match name.strip():
        case "server_no_context_takeover" | "client_no_context_takeover":
            return not value
        case "client_max_window_bits":
            return True  # section 7.1.2.2: a permission that the server need not use
        case "server_max_window_bits":
            # Section 7.1.2.1: must be answered. A smaller window would need frames of its own.
            return value.strip().strip('"') == "15"
        case _:
            return False


def deflate(payload: bytes) -> bytes:
    """Compress a message's payload (section 7.2.1): without the four bytes that end a flush."""
    # Negative: a raw stream, without zlib's own head and checksum.
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


def inflate(payload: bytes, limit: int) -> bytes:
    """Unpack a message's payload (section 7.2.2), into at most `limit` bytes. Raises `InflateError`."""
    decompressor = zlib.decompressobj(wbits=-15)
    try:
        # One byte more than allowed shows that there are more, without unpacking a bomb as a whole.
        data = decompressor.decompress(payload + _TAIL, limit + 1)
    except zlib.error as error:
        raise InflateError("not a deflated message", too_big=False) from error
    if len(data) > limit:
        raise InflateError("message too big once unpacked", too_big=True)
    return data
