"""What the admin API asks of chat."""

from __future__ import annotations

from datetime import datetime

from parley.common.wire.codec import Wire
from parley.common.wire.identity import Identity


class ArchiveRoomRequest(Wire, frozen=True):
    """An administrator closes a room: it stays readable and takes no more changes."""

    id: str
    room: str
    reason: str
    admin: Identity


class RecordArchiving(Wire, frozen=True):
    """An administrator is about to archive a room of their own, as its owner: have it in the audit log first.

    `id` names their command: a resend leaves one entry.
    """

    id: str
    room: str
    reason: str
    admin: Identity
    correlation: str


class EraseUser(Wire, frozen=True):
    """An administrator has all erased that a user wrote; of one that is under way already, ask how far it is."""

    user: str


class GetErasure(Wire, frozen=True):
    """Ask how far the erasure is that was asked for last of what a user wrote."""

    user: str


class ErasureInfo(Wire, frozen=True):
    """How far an erasure is: `requested`, `executing` or `completed`; `events` were erased so far."""

    id: str
    user: str
    state: str
    requested_at: datetime
    completed_at: datetime | None
    events: int


class ListRooms(Wire, frozen=True):
    """Ask chat for rooms of any kind, newest first; `before` is the id of the last room of the page before."""

    search: str = ""
    before: str = ""
    limit: int = 100


class RoomInfo(Wire, frozen=True):
    """A room as operators see it."""

    id: str
    name: str
    kind: str
    archived: bool
    head: int
    members: int
    created_by: str
    created_at: datetime


class RoomList(Wire, frozen=True):
    """A page of rooms."""

    rooms: list[RoomInfo]
    more: bool
