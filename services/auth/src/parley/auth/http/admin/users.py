"""`/admin/users`: find people; kick, ban and revoke them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import and_, or_, select, tuple_

from parley.auth.components import Admin, Current
from parley.auth.http.admin.connections import MAX_CONNECTIONS, ConnectionsPage, connections_page
from parley.auth.moderation import audit, bans
from parley.auth.standing import BAN_STANDS, ban_message
from parley.auth.tables import bans as bans_table
from parley.auth.tables import users
from parley.auth.tokens.claims import MAX_SUBJECT
from parley.auth.user_rows import lock_user, revoke_all
from parley.common.errors import Code, Reject
from parley.common.http.api import correlation_id
from parley.common.http.bodies import body_of, described
from parley.common.wire import subjects
from parley.common.wire.admin import EraseUser, ErasureInfo, GetErasure

router = APIRouter(prefix="/admin/users", tags=["admin"])

NO_NUL = r"^[^\x00]*$"
"""Postgres cannot store U+0000 in text."""
CENTURY = 100 * 366 * 86400
MAX_PAGE = 200

UserId = Annotated[str, Path(min_length=1, max_length=MAX_SUBJECT, pattern=NO_NUL)]
Reason = Annotated[str, msgspec.Meta(max_length=500, pattern=NO_NUL, description="told to the user")]


class Because(msgspec.Struct, frozen=True):
    """Why."""

    reason: Reason = ""


class BanRequest(Because, frozen=True):
    """Why, and for how long."""

    duration_seconds: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=CENTURY)] | None, msgspec.Meta(description="null: for ever")
    ] = None


GivenReason = Annotated[Because, body_of(Because)]
GivenBan = Annotated[BanRequest, body_of(BanRequest)]


class UserErasure(BaseModel):
    """How far an erasure is."""

    id: str
    user: str
    state: Literal["requested", "executing", "completed"]
    requested_at: datetime
    completed_at: datetime | None = Field(description="null: not yet")
    events: int = Field(description="erased so far")


class Ban(BaseModel):
    """A ban that stands."""

    reason: str
    banned_by: str
    created_at: datetime
    expires_at: datetime | None = Field(description="null: for ever")


class UserDetails(BaseModel):
    """A user as administrators see them."""

    id: str
    username: str | None = Field(description="null for your own users, who log in elsewhere")
    name: str
    kind: str = Field(description="`local`, or `external` for your own users")
    roles: list[str]
    created_at: datetime
    revoked_before: datetime | None = Field(description="tokens issued up to here are refused")
    ban: Ban | None


class UsersPage(BaseModel):
    """Users, newest first; `more` means the last one's id as `before` gives the next page."""

    users: list[UserDetails]
    more: bool


class KickResponse(BaseModel):
    """How many connections were ended; `unanswered` names gateways that may hold more."""

    disconnected: int
    unanswered: list[str]


class BanResponse(KickResponse):
    """A ban and the kick that followed it."""

    banned_until: datetime | None = Field(description="null: for ever")


class UnbanResponse(BaseModel):
    """Whether there was a ban to end."""

    unbanned: bool


class RevokeResponse(KickResponse):
    """A revocation and the kick that followed it."""

    revoked_before: datetime


_users = select(
    users,
    bans_table.c.reason,
    bans_table.c.banned_by,
    bans_table.c.created_at.label("banned_at"),
    bans_table.c.expires_at,
).select_from(users.outerjoin(bans_table, and_(bans_table.c.user_id == users.c.id, BAN_STANDS)))


@router.get("", summary="List and find users")
async def list_users(
    components: Current,
    _admin: Admin,
    search: Annotated[str, Query(max_length=128, pattern=NO_NUL, description="part of an id, name or username")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    before: Annotated[str, Query(max_length=MAX_SUBJECT, pattern=NO_NUL, description="id of the last user seen")] = "",
) -> UsersPage:
    """Users, newest first, with the ban that stands if any."""
    query = _users.order_by(users.c.created_at.desc(), users.c.id.desc()).limit(limit + 1)
    if search:
        columns = (users.c.username, users.c.name, users.c.id)
        query = query.where(or_(*(column.icontains(search, autoescape=True) for column in columns)))
    if before:
        last = select(users.c.created_at, users.c.id).where(users.c.id == before).scalar_subquery()
        query = query.where(tuple_(users.c.created_at, users.c.id) < last)
    async with components.database.autocommit() as connection:
        rows = (await connection.execute(query)).all()
        if before and not rows and await connection.scalar(select(users.c.id).where(users.c.id == before)) is None:
            # An empty page would say that this is the end.
            raise Reject(Code.NOT_FOUND, "before: there is no such user.")
    return UsersPage(users=[_user(row) for row in rows[:limit]], more=len(rows) > limit)


@router.get("/{user_id:path}/connections", summary="A user's live connections")
async def list_connections(user_id: UserId, components: Current, _admin: Admin) -> ConnectionsPage:
    """Which gateway, since when, from which address and over which transport; also for guests."""
    return await connections_page(components.gateways, user_id, MAX_CONNECTIONS)


@router.get("/{user_id:path}/erase", summary="How far a user's erasure is")
async def get_erasure(user_id: UserId, components: Current, _admin: Admin) -> UserErasure:
    """The erasure that was asked for last: `not_found` where none was."""
    return _erasure(await components.bus.request(subjects.GET_ERASURE, GetErasure(user_id), ErasureInfo, repeat=True))


@router.post("/{user_id:path}/erase", summary="Erase what a user wrote")
async def erase(user_id: UserId, request: Request, components: Current, admin: Admin) -> UserErasure:
    """All that the user wrote in rooms, and their names there; nobody reads it once this answers. There is no way back.

    Their account stays; ban the user first, or they may come back and write. One that is under way is taken for it.
    """
    async with components.database.transaction() as connection:
        await audit.record(connection, admin, "user.erase", user_id, {}, correlation_id(request))
    return _erasure(await components.bus.request(subjects.ERASE_USER, EraseUser(user_id), ErasureInfo))


@router.get("/{user_id:path}", summary="One user")
async def get_user(user_id: UserId, components: Current, _admin: Admin) -> UserDetails:
    """A user by id: `not_found` for one we do not know."""
    async with components.database.autocommit() as connection:
        row = (await connection.execute(_users.where(users.c.id == user_id))).first()
    if row is None:
        raise Reject(Code.NOT_FOUND, "There is no such user.")
    return _user(row)


@router.post("/{user_id:path}/kick", summary="End a user's connections", openapi_extra=described(Because))
async def kick(user_id: UserId, body: GivenReason, request: Request, components: Current, admin: Admin) -> KickResponse:
    """End every connection of a user, on every gateway; they may come back. Works for guests."""
    async with components.database.transaction() as connection:
        await audit.record(connection, admin, "user.kick", user_id, msgspec.to_builtins(body), correlation_id(request))
    result = await components.gateways.kick(user_id, Code.KICKED, body.reason)
    return KickResponse(disconnected=result.disconnected, unanswered=result.unanswered)


@router.post("/{user_id:path}/ban", summary="Keep a user out", openapi_extra=described(BanRequest))
async def ban(user_id: UserId, body: GivenBan, request: Request, components: Current, admin: Admin) -> BanResponse:
    """Ban a user and end their connections: `not_found` for one we do not know, `forbidden` for yourself."""
    if user_id == admin.user_id:
        raise Reject(Code.FORBIDDEN, "You cannot ban yourself.")
    duration = timedelta(seconds=body.duration_seconds) if body.duration_seconds is not None else None
    async with components.database.transaction() as connection:
        until = await bans.ban(connection, user_id, body.reason, admin, duration)
        await audit.record(connection, admin, "user.ban", user_id, msgspec.to_builtins(body), correlation_id(request))
    # Committed first: a connection being set up asks again once the gateway has it, and finds either ban or kick.
    result = await components.gateways.kick(user_id, Code.BANNED, ban_message(body.reason, until))
    return BanResponse(banned_until=until, disconnected=result.disconnected, unanswered=result.unanswered)


@router.post("/{user_id:path}/unban", summary="Let a user in again")
async def unban(user_id: UserId, request: Request, components: Current, admin: Admin) -> UnbanResponse:
    """End a user's ban, if there is one."""
    async with components.database.transaction() as connection:
        lifted = await bans.lift(connection, user_id)
        await audit.record(connection, admin, "user.unban", user_id, {"lifted": lifted}, correlation_id(request))
    return UnbanResponse(unbanned=lifted)


@router.post("/{user_id:path}/revoke", summary="Refuse every token a user was given so far")
async def revoke(user_id: UserId, request: Request, components: Current, admin: Admin) -> RevokeResponse:
    """Revoke access and refresh tokens and end the user's connections; they may log in again at once."""
    async with components.database.transaction() as connection:
        if await lock_user(connection, user_id) is None:
            raise Reject(Code.NOT_FOUND, "There is no such user.")
        moment = await revoke_all(connection, user_id)
        await audit.record(connection, admin, "user.revoke", user_id, {}, correlation_id(request))
    result = await components.gateways.kick(user_id, Code.REVOKED_TOKEN, "Log in again.")
    return RevokeResponse(revoked_before=moment, disconnected=result.disconnected, unanswered=result.unanswered)


def _erasure(info: ErasureInfo) -> UserErasure:
    return UserErasure(**msgspec.structs.asdict(info))


def _user(row: Any) -> UserDetails:
    ban = row.banned_at and Ban(
        reason=row.reason, banned_by=row.banned_by, created_at=row.banned_at, expires_at=row.expires_at
    )
    return UserDetails(
        id=row.id,
        username=row.username,
        name=row.name,
        kind=row.kind,
        roles=row.roles,
        created_at=row.created_at,
        revoked_before=row.revoked_before,
        ban=ban,
    )
