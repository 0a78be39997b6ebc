"""`/admin/users/{id}`: kick, ban and suspend one user."""

from __future__ import annotations

from datetime import datetime

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field

from parley.auth.accounts.programs import bots
from parley.auth.components import Components, Current
from parley.auth.full_admins import require_not_above
from parley.auth.http.admin.parameters import GivenReason, GivenRestriction, ReasonBody, Restriction, UserId
from parley.auth.http.admin.rights import Admin
from parley.auth.moderation import kick_records, restrictions
from parley.auth.moderation.kicks import KickOrder, KickResult
from parley.auth.standing import ban_message
from parley.auth.tokens.claims import GUEST_PREFIX
from parley.auth.user_rows import is_known, lock_user
from parley.common.errors import Code, Reject
from parley.common.http.bodies import described

router = APIRouter(prefix="/admin/users", tags=["admin"])


class KickResponse(BaseModel):
    """How many connections were ended; `unanswered` names gateways that may hold more."""

    kick_id: str = Field(description="`GET /admin/kicks/{id}` says what became of those")
    disconnected: int
    unanswered: list[str]


class BanResponse(KickResponse):
    """A ban and the kick that followed it."""

    banned_until: datetime | None = Field(description="null: for ever")


class UnbanResponse(BaseModel):
    """Whether there was a ban to end."""

    unbanned: bool


class SuspensionResponse(BaseModel):
    """A suspension, and what open connections know of it."""

    suspended_until: datetime | None = Field(description="null: until it is lifted")
    refreshed: int = Field(description="open connections that know it")
    unanswered: list[str] = Field(description="gateways that may hold more; those learn it as soon as they can ask")


class LiftResponse(BaseModel):
    """Whether there was a suspension to end, and what open connections know of that."""

    lifted: bool
    refreshed: int
    unanswered: list[str]


@router.post("/{user_id:path}/kick", summary="End a user's connections", openapi_extra=described(ReasonBody))
async def kick(user_id: UserId, body: GivenReason, components: Current, admin: Admin) -> KickResponse:
    """End every connection of a user, on every gateway; they may come back.

    `not_found` for a user whom there never was, and for a guest who has no connection: nobody keeps a list of guests.
    """
    await require_somebody(components, user_id)
    async with components.database.transaction() as connection:
        user = await lock_user(connection, user_id)
        require_not_above(admin.identity, user.roles if user is not None else ())
        new = await admin.record(connection, "user.kick", user_id, msgspec.to_builtins(body))
        order = await kick_records.write_order(connection, admin.user_id, Code.KICKED, body.reason, users=[user_id])
    done = await carry_out(components, order)
    # Said afterwards: to look first would miss who is just being let in. Of a retry the first try may have ended them.
    if user is None and new and user_id.startswith(GUEST_PREFIX) and not (done.disconnected or done.unanswered):
        raise Reject(Code.NOT_FOUND, "There is no such guest.")
    return done


@router.post("/{user_id:path}/ban", summary="Keep a user out", openapi_extra=described(Restriction))
async def ban(user_id: UserId, body: GivenRestriction, components: Current, admin: Admin) -> BanResponse:
    """Ban a user and end their connections: `not_found` for one we do not know, `forbidden` for yourself."""
    async with components.database.transaction() as connection:
        until = await restrictions.ban(connection, user_id, body.reason, admin, body.duration)
        message = ban_message(body.reason, until)
        banned = [user_id, *await bots.owned_by(connection, [user_id])]
        order = await kick_records.write_order(connection, admin.user_id, Code.BANNED, message, users=banned)
    # Committed first: a connection being set up asks again once the gateway has it, and finds either ban or kick.
    return BanResponse(banned_until=until, **(await carry_out(components, order)).model_dump())


@router.post("/{user_id:path}/unban", summary="Let a user in again")
async def unban(user_id: UserId, components: Current, admin: Admin) -> UnbanResponse:
    """End a user's ban, if there is one: `forbidden` for one that somebody who may more has set."""
    async with components.database.transaction() as connection:
        return UnbanResponse(unbanned=await restrictions.unban(connection, user_id, admin))


@router.post("/{user_id:path}/suspension", summary="Have a user read only", openapi_extra=described(Restriction))
async def suspend(user_id: UserId, body: GivenRestriction, components: Current, admin: Admin) -> SuspensionResponse:
    """Commands of theirs that write are refused with `suspended`; connections stay, and reading goes on.

    `not_found` for a user we do not know, `forbidden` for yourself. A suspension that stands is replaced.
    """
    async with components.database.transaction() as connection:
        until = await restrictions.suspend(connection, user_id, body.reason, admin, body.duration)
    result = await recheck(components, user_id)
    return SuspensionResponse(suspended_until=until, refreshed=result.disconnected, unanswered=result.unanswered)


@router.delete("/{user_id:path}/suspension", summary="Let a user write again")
async def lift_suspension(user_id: UserId, components: Current, admin: Admin) -> LiftResponse:
    """End a user's suspension, if there is one: `forbidden` for one that somebody who may more has set."""
    async with components.database.transaction() as connection:
        lifted = await restrictions.lift_suspension(connection, user_id, admin)
    result = await recheck(components, user_id)
    return LiftResponse(lifted=lifted, refreshed=result.disconnected, unanswered=result.unanswered)


async def require_somebody(components: Components, user_id: str) -> None:
    """Raise `Reject(not_found)` for an id of which nobody knows anything: an administrator has mistyped.

    Gateways are asked as well. Of who was let in before the database was restored they alone know.
    """
    async with components.database.autocommit() as connection:
        if await is_known(connection, user_id):
            return
    found, unanswered = await components.gateways.connections(user_id, 1)
    if not found and not unanswered:
        raise Reject(Code.NOT_FOUND, "There is no such user.")


async def recheck(components: Components, user_id: str) -> KickResult:
    """Have gateways ask who a user is now, and who their bots are."""
    async with components.database.autocommit() as connection:
        # What happens to an owner happens to their bots, whose connections are their own.
        changed = [user_id, *await bots.owned_by(connection, [user_id])]
    return await components.gateways.recheck(changed)


async def carry_out(components: Components, order: KickOrder) -> KickResponse:
    """Have gateways do what was written down, and say how it went. Raises `Reject`."""
    result = await components.kicks.carry_out(order)
    return KickResponse(kick_id=order.id, disconnected=result.disconnected, unanswered=result.unanswered)
