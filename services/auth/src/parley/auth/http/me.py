"""`/auth/me` and `/auth/password`: who somebody is, and what they do with their own account."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.own_account import Proof
from parley.auth.components import AnyBearer, Bearer, Components, Current
from parley.auth.http.device_cookie import proven_device
from parley.auth.http.endpoints import Ok, device_of
from parley.auth.http.own_sessions import EndedSessions
from parley.auth.moderation import kick_records
from parley.auth.moderation.kicks import KickOrder
from parley.auth.names import MAX_DISPLAY_NAME
from parley.auth.password_policy import MAX_PASSWORD, MIN_PASSWORD
from parley.common.errors import Code, Reject
from parley.common.http.bodies import body_of, described
from parley.common.wire.identity import Identity

router = APIRouter(prefix="/auth", tags=["auth"])

MAX_URL = 500
# Printable ASCII without what ends an attribute in HTML. Python's `$` alone would let a line end through.
AvatarUrl = Annotated[str, msgspec.Meta(max_length=MAX_URL, pattern=r"^https://[!#-&(-;=?-\[\]-_a-~]+(?!\n)$")]
CurrentPassword = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PASSWORD)]


class PasswordChange(msgspec.Struct, frozen=True):
    """The password there is, and the one there shall be."""

    current_password: CurrentPassword
    new_password: Annotated[str, msgspec.Meta(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]
    end_other_sessions: bool = True


class ProfileChange(msgspec.Struct, frozen=True):
    """What others are shown. What is left out stays; null takes the avatar away."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_DISPLAY_NAME)] | msgspec.UnsetType = msgspec.UNSET
    avatar_url: AvatarUrl | msgspec.UnsetType | None = msgspec.UNSET


class OwnPassword(msgspec.Struct, frozen=True):
    """The password of the account, to be sure."""

    password: CurrentPassword


class AccountDeletion(msgspec.Struct, frozen=True):
    """The password, to be sure; who logs in at a provider alone has none, and shows a login of minutes ago."""

    password: CurrentPassword | None = None


class Me(BaseModel):
    """Who the bearer of a token is."""

    user_id: str
    name: str
    roles: list[str]
    username: str | None = Field(description="null for who logs in elsewhere")
    avatar_url: str | None
    email: str | None = Field(default=None, description="a verified address; null: none")


async def limited(identity: Bearer, components: Current) -> Identity:
    """Return the bearer, if they do not change their account too often. Raises `Reject(rate_limited)`."""
    components.account_changes.take(identity.user_id, time.monotonic())
    return identity


Owner = Annotated[Identity, Depends(limited)]


@router.get("/me", summary="Who am I")
async def me(identity: AnyBearer, components: Current) -> Me:
    """The identity of the bearer, as gateways and services see it."""
    row = await components.own_account.read(identity.user_id)
    email = await components.own_address.of_user(identity.user_id)
    return Me(
        user_id=identity.user_id,
        name=identity.name,
        roles=list(identity.roles),
        username=row.username if row is not None else None,
        avatar_url=row.avatar_url if row is not None else None,
        # For the user themself: whoever looks on for them, or a server, has no use for it.
        email=email.address if email is not None and identity.scopes is None else None,
    )


@router.put("/me", summary="Change my name or avatar", openapi_extra=described(ProfileChange))
async def change_profile(
    identity: Owner, components: Current, body: Annotated[ProfileChange, body_of(ProfileChange)]
) -> Me:
    """A name by the rules of rooms' names, of which no word mixes scripts, and that looks like nobody else's username.

    Open connections have it at once. `already_exists`, or `forbidden` for who logs in elsewhere; `suspended` for
    who may read only, as others would see it.
    """
    if identity.suspended:
        raise Reject(Code.SUSPENDED)
    changes: dict[str, Any] = {
        name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not msgspec.UNSET
    }
    await components.own_account.update(identity.user_id, changes)
    # The avatar is in no identity: whoever shows it asks for it.
    if "name" in changes:
        await components.gateways.recheck([identity.user_id])
    return await me(msgspec.structs.replace(identity, name=changes.get("name", identity.name)), components)


@router.put("/password", summary="Change my password", openapi_extra=described(PasswordChange))
async def change_password(
    identity: Owner, request: Request, components: Current, body: Annotated[PasswordChange, body_of(PasswordChange)]
) -> EndedSessions:
    """Other sessions end, unless told otherwise. `invalid_credentials` if the current password is wrong."""
    proof = own_proof(body.current_password, request, components)
    ended = await components.own_account.change_password(
        identity, proof, body.new_password, end_others=body.end_other_sessions
    )
    await components.gateways.end_sessions(identity.user_id, ended)
    await components.own_address.tell(identity.user_id, "Your password was changed.")
    return EndedSessions(ended=len(ended))


@router.delete("/me", summary="Delete my account", openapi_extra=described(AccountDeletion))
async def delete_me(
    identity: Owner, request: Request, components: Current, body: Annotated[AccountDeletion, body_of(AccountDeletion)]
) -> Ok:
    """The account, its sessions, bots and connections end now; what it and they wrote is erased. There is no way back.

    `invalid_credentials` if the password is wrong, `forbidden` for the last administrator. Without a password of your
    own log in at your provider first: `fresh_login_required` says within how many seconds (`max_age`).
    """
    proof = None if body.password is None else own_proof(body.password, request, components)

    async def end(connection: AsyncConnection, gone: list[str]) -> KickOrder:
        message = "The account was deleted."
        return await kick_records.write_order(connection, identity.user_id, Code.INVALID_TOKEN, message, users=gone)

    order = await components.own_account.delete(identity, proof, end)
    components.deletions.soon()
    result = await components.kicks.carry_out(order)
    # A gateway that was cut off may have taken what the user wrote after the erasure: chat is asked a second time.
    if result.unanswered:
        await components.deletions.repeat(order.users)
    return Ok()


@router.get("/me/export", summary="All that is kept of me")
async def export_me(components: Current, identity: Bearer) -> StreamingResponse:
    """Lines of JSON, each `{type, <type>: {...}}`: `account`, `session`, `event`, and `end` if nothing is missing."""
    lines = components.data_export.begin(identity)
    headers = {"content-disposition": 'attachment; filename="parley-export.jsonl"', "cache-control": "no-store"}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


def own_proof(password: str, request: Request, components: Components) -> Proof:
    """Return what shows that an account is the bearer's."""
    return Proof(password, device_of(request), partial(proven_device, request, components))
