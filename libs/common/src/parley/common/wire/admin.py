"""What auth asks of chat: for administrators, and for those who delete or export what is theirs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity


class ArchiveRoomRequest(Wire, frozen=True):
    """Close a room for an administrator: it stays readable and takes no more changes."""

    id: str
    room: str
    reason: str
    admin: Identity


class RecordAction(Wire, frozen=True):
    """An administrator is about to do something in a room, as its owner may: have it in the audit log first.

    `id` names their command: a resend leaves one entry. `before` and `after` are what is known of what it changes.
    """

    id: str
    action: str
    room: str
    detail: dict[str, Any]
    admin: Identity
    correlation: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class EraseUser(Wire, frozen=True):
    """Erase everything that a user wrote. While that is under way already, it only asks for its progress."""

    user: str


class GetErasure(Wire, frozen=True):
    """Ask for the progress of the last erasure that was requested for a user."""

    user: str


class ErasureInfo(Wire, frozen=True):
    """The progress of an erasure: `requested`, `executing` or `completed`; `events` were erased so far."""

    id: str
    user: str
    state: str
    requested_at: datetime
    completed_at: datetime | None
    events: int


class ReadUserEvents(Wire, frozen=True):
    """Ask for what a user wrote, a page at a time; `cursor` is that of the page before."""

    user: str
    cursor: str = ""


class UserEvents(Wire, frozen=True):
    """Events that a user made, as JSON, each as its room's members were sent it; without `cursor`, the last of them.

    `rows` are what else is kept of them: a JSON object each, with a `type` and what is kept under the name of the type.
    """

    events: list[bytes]
    cursor: str = ""
    rows: list[bytes] = []


class ListRooms(Wire, frozen=True):
    """Ask for a page of rooms of any kind, newest first. `before` is the id of the last room on the previous page."""

    search: str = ""
    before: str = ""
    limit: int = 100


class RoomInfo(Wire, frozen=True):
    """A room as the admin API shows it."""

    id: str
    name: str
    kind: str
    archived: bool
    head: int
    members: int
    created_by: str
    created_at: datetime


class RoomList(Wire, frozen=True):
    """A page of rooms; `more` says whether another one follows."""

    rooms: list[RoomInfo]
    more: bool
