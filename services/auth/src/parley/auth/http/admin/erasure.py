"""`/admin/users/{id}/erase`: nobody reads any more what a user wrote."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from parley.auth.components import Current
from parley.auth.full_admins import require_not_above
from parley.auth.http.admin.parameters import UserId
from parley.auth.http.admin.rights import Admin
from parley.auth.user_rows import lock_user
from parley.common.wire import subjects
from parley.common.wire.admin import EraseUser, ErasureInfo, GetErasure

router = APIRouter(prefix="/admin/users", tags=["admin"])


class UserErasure(BaseModel):
    """How far an erasure of a user is, as chat says it."""

    id: str
    user: str
    state: Literal["requested", "executing", "completed"]
    requested_at: datetime
    completed_at: datetime | None = Field(description="null: not yet")
    events: int = Field(description="erased so far")


@router.get("/{user_id:path}/erase", summary="How far a user's erasure is")
async def get_erasure(user_id: UserId, components: Current, _admin: Admin) -> UserErasure:
    """The erasure that was asked for last: `not_found` where none was."""
    info = await components.bus.request(subjects.GET_ERASURE, GetErasure(user_id), ErasureInfo, repeat=True)
    return UserErasure.model_validate(info, from_attributes=True)


@router.post("/{user_id:path}/erase", summary="Erase what a user wrote")
async def erase(user_id: UserId, components: Current, admin: Admin) -> UserErasure:
    """All that the user wrote in rooms, and their names there; nobody reads it once this answers. There is no way back.

    Their account stays; ban the user first, or they may come back and write. One that is under way is taken for it.
    `forbidden` for a user who may more. Whoever has no account here is taken as well: rooms have more people than that,
    such as guests, and those of rooms that were imported.
    """
    async with components.database.transaction() as connection:
        user = await lock_user(connection, user_id)
        require_not_above(admin.identity, user.roles if user is not None else ())
        await admin.record(connection, "user.erase", user_id)
    # Behind the commit: the log says that it was asked for, also where chat cannot be reached now.
    info = await components.bus.request(subjects.ERASE_USER, EraseUser(user_id), ErasureInfo)
    return UserErasure.model_validate(info, from_attributes=True)
