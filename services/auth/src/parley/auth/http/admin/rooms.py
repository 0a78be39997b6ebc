"""`/admin/rooms`: see and close rooms."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from parley.auth.components import Components, Current
from parley.auth.http.admin.parameters import MAX_PAGE, NO_NUL, ReasonBody
from parley.auth.http.admin.rights import Admin
from parley.auth.http.endpoints import Ok
from parley.auth.moderation import audit
from parley.common.errors import Reject
from parley.common.http.bodies import body_of, described
from parley.common.wire import subjects
from parley.common.wire.admin import ArchiveRoomRequest, ListRooms, RoomList
from parley.common.wire.identifiers import uuid7

router = APIRouter(prefix="/admin", tags=["admin"])

MAX_ROOM = 128


class CloseRequest(ReasonBody, frozen=True):
    """Why; `id` may name the request, so that a retry is known for one."""

    id: Annotated[UUID | None, msgspec.Meta(description="a UUID of yours; else one is made")] = None


GivenClose = Annotated[CloseRequest, body_of(CloseRequest)]


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
    return RoomsPage.model_validate(page, from_attributes=True)


@router.post("/rooms/{room}/close", summary="Close a room", openapi_extra=described(CloseRequest))
async def close_room(
    room: Annotated[str, Path(min_length=1, max_length=MAX_ROOM, pattern=NO_NUL)],
    body: GivenClose,
    components: Current,
    admin: Admin,
) -> Ok:
    """Archive a room: it can be read and takes no more changes. A closed one may be closed again.

    A retry with the same `id`, or of the same administrator without one, leaves one audit entry: it records the
    attempt.
    """
    before = await _shown(components, room)
    command_id = str(body.id or uuid7())
    actor = replace(admin, request_id=admin.request_id or (command_id if body.id is not None else ""))
    async with components.database.transaction() as connection:
        if actor.request_id or not await audit.has(connection, admin, "room.close", room):
            after = {**before, "archived": True} if before is not None else None
            await actor.record(connection, "room.close", room, {"reason": body.reason}, before=before, after=after)
    request = ArchiveRoomRequest(command_id, room, body.reason, admin.identity)
    await components.bus.call(subjects.ARCHIVE_ROOM, request)
    return Ok()


async def _shown(components: Components, room: str) -> dict[str, Any] | None:
    """Return what the audit log says of a room before it changes.

    None where chat cannot say it now, or there is none.
    """
    try:
        found = await components.bus.request(subjects.LIST_ROOMS, ListRooms(room, "", 1), RoomList)
    except Reject:
        return None
    return next(({"name": each.name, "archived": each.archived} for each in found.rooms if each.id == room), None)
