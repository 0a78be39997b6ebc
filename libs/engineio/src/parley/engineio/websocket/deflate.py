"""permessage-deflate (RFC 7692), pure, always without context takeover.

No context between messages means that a frame compressed once is right for every client of a room, and that an idle
connection keeps no compressor.
"""

from __future__ import annotations

import zlib

THRESHOLD = 1024
"""Bytes from which on a message is worth compressing."""
ACCEPTED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

_WINDOW = "server_max_window_bits"
_TAIL = b"\x00\x00\xff\xff"


MAX_OFFERS = 1024
"""Characters of offers that are looked at; clients send one or two of 50."""


class InflateError(ValueError):
    """Not a compressed message, or one that is too big unpacked."""

    def __init__(self, reason: str, *, too_big: bool) -> None:
        super().__init__(reason)
        self.too_big = too_big


def negotiate(offers: str) -> str | None:
    """The answer to a `Sec-WebSocket-Extensions` header when one of its offers can be met, else None."""
    if len(offers) > MAX_OFFERS:
        return None
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
            return True  # a permission that need not be used
        case "server_max_window_bits":  # must be answered
            return value.strip().strip('"') == "15"  # a smaller window would need frames of its own
        case _:
            return False


def deflate(payload: bytes) -> bytes:
    """Compress a message's payload."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


def inflate(payload: bytes, limit: int) -> bytes:
    """Unpack a message's payload of at most `limit` bytes. Raises `InflateError`."""
    decompressor = zlib.decompressobj(wbits=-15)
    try:
        data = decompressor.decompress(payload + _TAIL, limit + 1)
    except zlib.error as error:
        raise InflateError("not a deflated message", too_big=False) from error
    if len(data) > limit:
        raise InflateError("message too big once unpacked", too_big=True)
    return data
