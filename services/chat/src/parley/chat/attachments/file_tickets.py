"""Tickets: addresses of files that work for some minutes and for one user, in pages that send no token. Pure.

A ticket says who may have which upload and until when, and is signed with the log's secret, so any replica reads it.
Whether that user may read the file's message is looked up whenever the ticket is used. Within half of its time the same
ticket is made again, so that a browser finds the file in its cache.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import NamedTuple
from uuid import UUID

WINDOW = 300
"""Seconds for which a ticket is valid at least; twice as long at most."""
_MAC = 16
MAX_LENGTH = 256


class FileTicket(NamedTuple):
    """Who may have an upload, and until when, in seconds since 1970."""

    upload: UUID
    user_id: str
    until: int


def expiry(now: float) -> int:
    """Return until when a ticket that is made now is valid."""
    return (int(now) // WINDOW + 2) * WINDOW


def write(ticket: FileTicket, key: bytes) -> str:
    """Return a ticket as it stands in an address."""
    data = ticket.upload.bytes + ticket.until.to_bytes(6, "big") + ticket.user_id.encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(_mac(data, key) + data).decode().rstrip("=")


def read(text: str, key: bytes, now: float) -> FileTicket | None:
    """Return a ticket that is ours and still valid, else None."""
    if len(text) > MAX_LENGTH * 4:
        return None
    try:
        both = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    mac, data = both[:_MAC], both[_MAC:]
    if len(data) < 22 or not hmac.compare_digest(mac, _mac(data, key)):
        return None
    ticket = FileTicket(
        UUID(bytes=data[:16]), data[22:].decode("utf-8", "surrogatepass"), int.from_bytes(data[16:22], "big")
    )
    return ticket if now < ticket.until else None


def _mac(data: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"ticket of an upload\0" + data, "sha256")[:_MAC]
