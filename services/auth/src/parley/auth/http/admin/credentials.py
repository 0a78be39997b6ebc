"""`/admin/users/{id}`: what somebody may, and by what they get in: roles, password, tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import Row, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.accounts import require_strong
from parley.auth.accounts.sessions import view_tokens
from parley.auth.components import Current
from parley.auth.full_admins import require_another_full_admin, require_not_above
from parley.auth.http.admin.moderation import KickResponse, carry_out, recheck
from parley.auth.http.admin.parameters import GivenReason, ReasonBody, UserId
from parley.auth.http.admin.rights import Admin
from parley.auth.moderation import kick_records
from parley.auth.password_policy import MAX_PASSWORD, MIN_PASSWORD
from parley.auth.tables import users
from parley.auth.tokens.claims import MAX_ROLE, MAX_ROLES
from parley.auth.user_rows import lock_user, revoke_all
from parley.common.errors import Code, Reject
from parley.common.http.bodies import body_of, described
from parley.common.wire.rights import ADMIN_ROLE

router = APIRouter(prefix="/admin/users", tags=["admin"])

Role = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ROLE, pattern=r"^[^\x00-\x1f\x7f]+(?!\n)$")]


class Roles(msgspec.Struct, frozen=True):
    """Roles; `admin`, `admin:operate`, `admin:moderate` and `admin:read` are administrators'."""

    roles: Annotated[list[Role], msgspec.Meta(max_length=MAX_ROLES, description="all that the user has from now on")]


class NewPassword(msgspec.Struct, frozen=True):
    """A password that an administrator gives a user; its rules are those of registration."""

    password: Annotated[str, msgspec.Meta(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]
    change_at_login: Annotated[bool, msgspec.Meta(description="whether the user has to choose another one")] = False


GivenRoles = Annotated[Roles, body_of(Roles)]
GivenPassword = Annotated[NewPassword, body_of(NewPassword)]


class RolesResponse(BaseModel):
    """The roles now, and what open connections know of them."""

    roles: list[str]
    refreshed: int = Field(description="open connections that know them")
    unanswered: list[str] = Field(description="gateways that may hold more; those learn it as soon as they can ask")


class ViewTokenResponse(BaseModel):
    """A token to see what somebody sees."""

    access_token: str
    session_id: str = Field(description="the session that the user sees it as")
    expires_at: datetime


class RevokeResponse(KickResponse):
    """A revocation and the kick that followed it."""

    revoked_before: datetime


class ResetFactorsResponse(RevokeResponse):
    """Factors that were switched off, and the kick that followed."""

    removed: list[str] = Field(description="`totp`, `passkey`, `recovery_code`; none if no factor was on")


@router.put("/{user_id:path}/roles", summary="Set a user's roles", openapi_extra=described(Roles))
async def set_roles(user_id: UserId, body: GivenRoles, components: Current, admin: Admin) -> RolesResponse:
    """What tokens in use and open connections may changes at once. Of bots, what their owner has not does not count.

    `forbidden` for your own users, whose roles are in their tokens, and where nobody would be left to decide who may
    what. Your own roles you may set as well.
    """
    # Each once, in the order in which they were given.
    roles = list(dict.fromkeys(body.roles))
    async with components.database.transaction() as connection:
        user = await _locked(connection, user_id)
        if user.kind == "external":
            raise Reject(Code.FORBIDDEN, "The roles of your own users are in their tokens.")
        # Under a lock that is one for all, so that the last two do not take it from each other at once.
        if ADMIN_ROLE not in roles:
            await require_another_full_admin(connection, user)
        await connection.execute(update(users).where(users.c.id == user_id).values(roles=roles))
        await admin.record(connection, "user.roles", user_id, before={"roles": user.roles}, after={"roles": roles})
    result = await recheck(components, user_id)
    return RolesResponse(roles=roles, refreshed=result.disconnected, unanswered=result.unanswered)


@router.put("/{user_id:path}/password", summary="Set a user's password", openapi_extra=described(NewPassword))
async def set_password(user_id: UserId, body: GivenPassword, components: Current, admin: Admin) -> RevokeResponse:
    """What the old one gave is refused from now on, and the user's connections end. `forbidden` for who has none."""
    # Before the transaction: a row is not kept locked for as long as hashing takes.
    password_hash = await components.passwords.hash(body.password)
    async with components.database.transaction() as connection:
        user = await _locked(connection, user_id)
        if user.kind != "local":
            raise Reject(Code.FORBIDDEN, "Only accounts made here have a password.")
        require_strong(body.password, user.username)
        changes = {"password_hash": password_hash, "password_change_required": body.change_at_login}
        await connection.execute(update(users).where(users.c.id == user_id).values(**changes))
        # Whoever knew the old password may hold tokens; they end with it.
        moment = await revoke_all(connection, user_id)
        await admin.record(connection, "user.password", user_id, {"change_at_login": body.change_at_login})
        message = "Your password was set; log in again."
        order = await kick_records.write_order(connection, admin.user_id, Code.REVOKED_TOKEN, message, users=[user_id])
    return RevokeResponse(revoked_before=moment, **(await carry_out(components, order)).model_dump())


@router.post("/{user_id:path}/password-change", summary="Have a user choose another password")
async def require_password_change(user_id: UserId, components: Current, admin: Admin) -> RevokeResponse:
    """Everything the password gave is refused from now on, and it lets in only who then sets another one.

    `forbidden` for who has none.
    """
    async with components.database.transaction() as connection:
        user = await _locked(connection, user_id)
        require_not_above(admin.identity, user.roles)
        if user.kind != "local":
            raise Reject(Code.FORBIDDEN, "Only accounts made here have a password.")
        await connection.execute(update(users).where(users.c.id == user_id).values(password_change_required=True))
        moment = await revoke_all(connection, user_id)
        before, after = {"required": user.password_change_required}, {"required": True}
        await admin.record(connection, "user.password_change", user_id, before=before, after=after)
        message = "Log in again and choose another password."
        order = await kick_records.write_order(connection, admin.user_id, Code.REVOKED_TOKEN, message, users=[user_id])
    return RevokeResponse(revoked_before=moment, **(await carry_out(components, order)).model_dump())


@router.delete("/{user_id:path}/factors", summary="Switch a user's second factors off")
async def reset_factors(user_id: UserId, components: Current, admin: Admin) -> ResetFactorsResponse:
    """For who has lost them: authenticator app, passkeys and recovery codes are forgotten, and every session ends.

    The password lets in by itself then, so make sure who is asking.
    """
    async with components.database.transaction() as connection:
        user = await _locked(connection, user_id)
        require_not_above(admin.identity, user.roles)
        removed = await components.own_factors.reset(connection, user_id)
        moment = await revoke_all(connection, user_id)
        await admin.record(connection, "user.factors", user_id, before={"methods": removed}, after={"methods": []})
        message = "Your second factors were switched off; log in again."
        order = await kick_records.write_order(connection, admin.user_id, Code.REVOKED_TOKEN, message, users=[user_id])
    # If it was not the user who asked, they learn of it here.
    await components.own_address.tell(user_id, "An administrator has switched your second factors off.")
    done = await carry_out(components, order)
    return ResetFactorsResponse(removed=removed, revoked_before=moment, **done.model_dump())


@router.post("/{user_id:path}/revoke", summary="Refuse every token a user was given so far")
async def revoke(user_id: UserId, components: Current, admin: Admin) -> RevokeResponse:
    """Revoke access and refresh tokens and a bot's API keys, and end the user's connections.

    People may log in again at once: to keep somebody out, ban them, or set their password.
    """
    async with components.database.transaction() as connection:
        user = await _locked(connection, user_id)
        require_not_above(admin.identity, user.roles)
        moment = await revoke_all(connection, user_id)
        before = {"revoked_before": user.revoked_before and user.revoked_before.isoformat()}
        after = {"revoked_before": moment.isoformat()}
        await admin.record(connection, "user.revoke", user_id, before=before, after=after)
        message = "Log in again."
        order = await kick_records.write_order(connection, admin.user_id, Code.REVOKED_TOKEN, message, users=[user_id])
    return RevokeResponse(revoked_before=moment, **(await carry_out(components, order)).model_dump())


@router.post("/{user_id:path}/view-token", summary="See what a user sees", openapi_extra=described(ReasonBody))
async def create_view_token(user_id: UserId, body: GivenReason, components: Current, admin: Admin) -> ViewTokenResponse:
    """A token of ten minutes that reads in the user's place, in rooms and over sockets, and never writes.

    It is in the audit log, and among the sessions that the user sees and ends. It opens neither their account nor what
    they administrate, marks nothing as read, changes no preference, subscribes to nothing, and shows nobody as present.
    """
    async with components.database.transaction() as connection:
        user = await _locked(connection, user_id)
        require_not_above(admin.identity, user.roles)
        issued = await view_tokens.issue(connection, components.signer, user, admin.identity)
        detail = {"reason": body.reason, "session_id": issued.session_id}
        await admin.record(connection, "user.view", user_id, detail)
    return ViewTokenResponse(access_token=issued.token, session_id=issued.session_id, expires_at=issued.expires_at)


async def _locked(connection: AsyncConnection, user_id: str) -> Row[Any]:
    user = await lock_user(connection, user_id)
    if user is None:
        raise Reject(Code.NOT_FOUND, "There is no such user.")
    return user
