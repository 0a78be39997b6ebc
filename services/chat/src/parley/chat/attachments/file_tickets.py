"""Tickets: addresses of files that work for some minutes and for one user, in pages that send no token. Pure.

A ticket says who may have which upload and until when, and is signed with the log's secret, so any replica reads it.
Whether that user may read the file's message is looked up whenever the ticket is used. Within half of its time the same
ticket is made again, so that a browser finds the file in its cache. A ticket for a file of a report names that report:
then it is looked up whether that user may see the report.
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
_OF_MESSAGE, _OF_REPORT = b"ticket of an upload\0", b"ticket of a report's file\0"
"""What is signed with a ticket, so that none of one kind is read as one of the other."""


class ReportOfTicket(NamedTuple):
    """The report by which a user sees a file, in the room with this key, and whether they do as an administrator."""

    room: int
    report: UUID
    administers: bool


class FileTicket(NamedTuple):
    """Who may have an upload, and until when, in seconds since 1970; by a report, if it names one."""

    upload: UUID
    user_id: str
    until: int
    report: ReportOfTicket | None = None


def expiry(now: float) -> int:
    """Return until when a ticket that is made now is valid."""
    return (int(now) // WINDOW + 2) * WINDOW


def write(ticket: FileTicket, key: bytes) -> str:
    """Return a ticket as it stands in an address."""
    data = ticket.upload.bytes + ticket.until.to_bytes(6, "big")
    kind = _OF_MESSAGE
    if (report := ticket.report) is not None:
        kind = _OF_REPORT
        data += report.room.to_bytes(8, "big", signed=True) + report.report.bytes + bytes([report.administers])
    data += ticket.user_id.encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(_mac(kind, data, key) + data).decode().rstrip("=")


def read(text: str, key: bytes, now: float) -> FileTicket | None:
    """Return a ticket that is ours and still valid, else None."""
    if len(text) > MAX_LENGTH * 4:
        return None
    try:
        both = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    mac, data = both[:_MAC], both[_MAC:]
    report, rest = None, data[22:]
    if len(data) >= 47 and hmac.compare_digest(mac, _mac(_OF_REPORT, data, key)):
        room = int.from_bytes(data[22:30], "big", signed=True)
        report, rest = ReportOfTicket(room, UUID(bytes=data[30:46]), bool(data[46])), data[47:]
    elif len(data) < 22 or not hmac.compare_digest(mac, _mac(_OF_MESSAGE, data, key)):
        return None
    until = int.from_bytes(data[16:22], "big")
    ticket = FileTicket(UUID(bytes=data[:16]), rest.decode("utf-8", "surrogatepass"), until, report)
    return ticket if now < ticket.until else None


def _mac(kind: bytes, data: bytes, key: bytes) -> bytes:
    return hmac.digest(key, kind + data, "sha256")[:_MAC]
