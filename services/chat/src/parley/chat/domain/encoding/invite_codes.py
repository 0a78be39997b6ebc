"""The codes of links into rooms, pure: each names its room and the event that made it, and is signed by the log.

Nothing that is stored or shown is a code, so nobody learns one but from whom it was told, and the same link always has
the same code. Whether a link is still good, its room says.
"""

from __future__ import annotations

import base64
import binascii

from parley.chat.domain.encoding.room_ids import LogSecret
from parley.common.errors import Code, Reject

_LINK = 16
"""Bytes of what a code names: the keys of the room and of the event."""
_LENGTH = _LINK + LogSecret.SIGNATURE


def code_of(secret: LogSecret, room_id: int, invite: int) -> str:
    """Return the code of a link: 38 characters that are safe in a URL."""
    link = room_id.to_bytes(8, "big", signed=True) + invite.to_bytes(8, "big")
    return _text(link + secret.signature(b"invite" + link))


def room_of_code(secret: LogSecret, code: str) -> int:
    """Return the key of the room that a code leads into. Raises `Reject(not_found)` for a code that was never given."""
    data = _bytes(code)
    if not secret.signed(b"invite" + data[:_LINK], data[_LINK:]):
        raise _unknown()
    return int.from_bytes(data[:8], "big", signed=True)


def invite_of(code: str) -> int:
    """Return which of its room's links a code belongs to. Raises `Reject(not_found)` for what cannot be a code."""
    return int.from_bytes(_bytes(code)[8:_LINK], "big")


def _bytes(code: str) -> bytes:
    try:
        data = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _unknown() from None
    # Base64 has several spellings of the same bytes. Only the one that was given is a code.
    if len(data) != _LENGTH or _text(data) != code:
        raise _unknown()
    return data


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unknown() -> Reject:
    return Reject(Code.NOT_FOUND, "There is no such invite.")
