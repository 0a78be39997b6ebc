"""What an application keeps with a message or a room, or looks for: a JSON object of its own, checked and bounded."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from parley.common.errors import Code, Reject
from parley.common.wire.text import NO_TEXT

_encoder = msgspec.json.Encoder()

KeptCustom = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
"""Custom data as it is shown: the JSON that is kept, which nobody decodes on its way, or searches for binary data."""


def check_custom(data: dict[str, Any], most: int, whose: str) -> None:
    """Check the size of custom data as JSON in bytes, and that every text in it can be stored. Raises `Reject`."""
    try:
        encoded = _encoder.encode(data)
    except (UnicodeEncodeError, ValueError, RecursionError) as error:
        raise Reject(Code.INVALID_PAYLOAD, f"{whose} hold something that cannot be stored.") from error
    if len(encoded) > most:
        raise Reject(Code.PAYLOAD_TOO_LARGE, f"{whose} are at most {most} bytes of JSON.")
    # JSON writes NUL as an escape, and a backslash before it as two.
    if b"\\u0000" in encoded.replace(b"\\\\", b""):
        raise Reject(Code.INVALID_PAYLOAD, NO_TEXT)


def custom_text(data: dict[str, Any] | None) -> str:
    """Return custom data as the JSON that a room keeps; an empty object is none."""
    return _encoder.encode(data).decode() if data else ""


def custom_of(text: str) -> KeptCustom | None:
    """Return the custom data that a room keeps, None if it has none."""
    return msgspec.Raw(text.encode()) if text else None
