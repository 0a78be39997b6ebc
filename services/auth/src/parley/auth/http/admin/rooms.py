"""`/admin/rooms` and `/admin/audit`: see and close rooms, and see who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from parley.auth.components import Admin, Current
from parley.auth.http.admin.users import MAX_PAGE, NO_NUL, Because, GivenReason
from parley.auth.http.endpoints import Done
from parley.auth.moderation import audit
from parley.auth.moderation.audit import AuditEntry
from parley.common.http.api import correlation_id
from parley.common.http.bodies import described
from parley.common.wire import subjects
from parley.common.wire.admin import ArchiveRoomRequest, ListRooms, RoomList
from parley.common.wire.identifiers import uuid7

router = APIRouter(prefix="/admin", tags=["admin"])

MAX_ROOM = 128


class RoomDetails(BaseModel):
    """A room as administrators see it."""

    id: str
    name: str
    kind: str
    archived: bool
    head: int = Field(description="sequence of its last event")
    members: int
    created_by: str
    created_at: datetime


class RoomsPage(BaseModel):
    """Rooms, newest first; `more` means the last one's id as `before` gives the next page."""

    rooms: list[RoomDetails]
    more: bool


class AuditPage(BaseModel):
    """Audit entries, newest first; `more` means the last one's id as `before` gives the next page."""

    entries: list[AuditEntry]
    more: bool


@router.get("/rooms", summary="List and find rooms")
async def list_rooms(
    components: Current,
    _admin: Admin,
    search: Annotated[str, Query(max_length=128, pattern=NO_NUL)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    before: Annotated[str, Query(max_length=MAX_ROOM, pattern=NO_NUL, description="id of the last room seen")] = "",
) -> RoomsPage:
    """Rooms of any kind, as chat knows them."""
    page = await components.bus.request(subjects.LIST_ROOMS, ListRooms(search, before, limit), RoomList, repeat=True)
    return RoomsPage(rooms=[RoomDetails(**msgspec.structs.asdict(room)) for room in page.rooms], more=page.more)


@router.post("/rooms/{room_id}/close", summary="Close a room", openapi_extra=described(Because))
async def close_room(
    room_id: Annotated[str, Path(min_length=1, max_length=MAX_ROOM, pattern=NO_NUL)],
    body: GivenReason,
    request: Request,
    components: Current,
    admin: Admin,
) -> Done:
    """Archive a room: it can be read and takes no more changes. A closed one may be closed again.

    The audit entry records the attempt; one administrator who has to try again leaves one entry.
    """
    async with components.database.transaction() as connection:
        if not await audit.has(connection, admin, "room.close", room_id):
            said = msgspec.to_builtins(body)
            await audit.record(connection, admin, "room.close", room_id, said, correlation_id(request))
    await components.bus.call(subjects.ARCHIVE_ROOM, ArchiveRoomRequest(str(uuid7()), room_id, body.reason, admin))
    return Done()


@router.get("/audit", summary="What administrators did")
async def list_audit(
    components: Current,
    _admin: Admin,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    before: Annotated[int | None, Query(ge=0, lt=2**63, description="id of the last entry seen")] = None,
) -> AuditPage:
    """Audit entries, newest first."""
    async with components.database.autocommit() as connection:
        found = await audit.entries(connection, limit + 1, before)
    return AuditPage(entries=found[:limit], more=len(found) > limit)
