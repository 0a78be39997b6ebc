"""`/admin/bots` and `/admin/api-keys`: programs that use this server, whoever owns them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlalchemy import select, true, tuple_

from parley.auth.accounts.programs import api_keys, bots
from parley.auth.accounts.programs.api_keys import ApiKeyDetails, NewApiKey
from parley.auth.accounts.programs.bots import BotDetails
from parley.auth.components import Current
from parley.auth.full_admins import require_not_above
from parley.auth.http.admin.bulk import User
from parley.auth.http.admin.parameters import NO_NUL, Limit
from parley.auth.http.admin.rights import Admin
from parley.auth.http.bots import (
    MAX_LISTED,
    BotId,
    GivenRotation,
    KeyId,
    KeyRequest,
    NewBot,
    Rotation,
    end_rotated,
    remove_bot,
)
from parley.auth.http.endpoints import Ok
from parley.auth.tables import api_keys as keys_table
from parley.auth.tokens.claims import MAX_SUBJECT
from parley.auth.user_rows import is_known
from parley.common.errors import Code, Reject
from parley.common.http.bodies import body_of, described

router = APIRouter(prefix="/admin", tags=["admin"])


class OwnedBot(NewBot, frozen=True):
    """A bot to be made, and whose it will be."""

    owner_id: Annotated[User | None, msgspec.Meta(description="null: yours")] = None


class BotKeyRequest(KeyRequest, frozen=True, kw_only=True):
    """A key to be made, and the bot whose it will be."""

    user_id: User


GivenOwnedBot = Annotated[OwnedBot, body_of(OwnedBot)]
GivenBotKey = Annotated[BotKeyRequest, body_of(BotKeyRequest)]


class KeysPage(BaseModel):
    """API keys, newest first; `more` means the last one's id as `before` gives the next page."""

    keys: list[ApiKeyDetails]
    more: bool


@router.post("/bots", summary="Make a bot", openapi_extra=described(OwnedBot))
async def create_bot(body: GivenOwnedBot, components: Current, admin: Admin) -> BotDetails:
    """A bot of any user's, beyond the number that they may make themselves."""
    async with components.database.transaction() as connection:
        made = await bots.create(connection, body.name.strip(), body.owner_id or admin.user_id, MAX_LISTED)
        await admin.record(connection, "bot.create", made.id, after={"name": made.name, "owner_id": made.owner_id})
    return made


@router.delete("/bots/{bot_id}", summary="Delete a bot")
async def delete_bot(bot_id: BotId, components: Current, admin: Admin) -> Ok:
    """Its keys are refused from now on and its connections end. What it wrote stays."""
    async with components.database.transaction() as connection:
        bot = await bots.require(connection, bot_id)
        await admin.record(connection, "bot.delete", bot_id, before={"name": bot.name, "owner_id": bot.owner_id})
        order = await remove_bot(connection, bot_id, admin.user_id)
    await components.kicks.carry_out(order)
    return Ok()


@router.get("/api-keys", summary="API keys")
async def list_keys(
    components: Current,
    _admin: Admin,
    user_id: Annotated[str, Query(max_length=MAX_SUBJECT, pattern=NO_NUL, description="of this bot alone")] = "",
    limit: Limit = 50,
    before: Annotated[str, Query(max_length=32, pattern=NO_NUL, description="id of the last key seen")] = "",
) -> KeysPage:
    """The keys of all bots, without their secrets, those that have ended as well.

    `not_found` for a user or a last key that there is not: an empty page would say that there are no more.
    """
    which = keys_table.c.user_id == user_id if user_id else true()
    if before:
        last = select(keys_table.c.created_at, keys_table.c.id).where(keys_table.c.id == before).scalar_subquery()
        which &= tuple_(keys_table.c.created_at, keys_table.c.id) < last
    async with components.database.autocommit() as connection:
        found = await api_keys.listed(connection, which, limit + 1)
        if not found and before and await connection.scalar(select(true()).where(keys_table.c.id == before)) is None:
            raise Reject(Code.NOT_FOUND, "before: there is no such API key.")
        if not found and user_id and not await is_known(connection, user_id):
            raise Reject(Code.NOT_FOUND, "user_id: there is no such user.")
    return KeysPage(keys=found[:limit], more=len(found) > limit)


@router.post("/api-keys", summary="Make an API key", openapi_extra=described(BotKeyRequest))
async def create_key(body: GivenBotKey, components: Current, admin: Admin) -> NewApiKey:
    """A key of any bot. It is shown this once."""
    async with components.database.transaction() as connection:
        await bots.require(connection, body.user_id)
        made = await api_keys.create(
            connection, body.user_id, body.name.strip(), body.scopes, admin.user_id, body.lifetime
        )
        await admin.record(connection, "api_key.create", made.id, after=_audit_detail(made))
    return made


@router.post("/api-keys/{key_id}/rotate", summary="Give an API key a new secret", openapi_extra=described(Rotation))
async def rotate_key(key_id: KeyId, body: GivenRotation, components: Current, admin: Admin) -> NewApiKey:
    """Its name, scopes and end stay. Both secrets are good while they overlap.

    Connections by the secret of before end with the overlap, and at once without one.
    """
    async with components.database.transaction() as connection:
        overlap = timedelta(seconds=body.overlap_seconds)
        made = await api_keys.rotate(connection, keys_table.c.id == key_id, overlap)
        await admin.record(connection, "api_key.rotate", key_id, msgspec.to_builtins(body))
    await end_rotated(components, made, body)
    return made


@router.delete("/api-keys/{key_id}", summary="Revoke an API key")
async def revoke_key(key_id: KeyId, components: Current, admin: Admin) -> Ok:
    """It is refused from now on, and connections that came with it end. `forbidden` for one of a bot that may more."""
    async with components.database.transaction() as connection:
        bot = await bots.of_key(connection, key_id)
        require_not_above(admin.identity, bot.roles)
        ended = await api_keys.revoke(connection, keys_table.c.id == key_id)
        await admin.record(connection, "api_key.revoke", key_id, before=_audit_detail(ended))
    await components.gateways.end_sessions(ended.user_id, [key_id])
    return Ok()


def _audit_detail(key: ApiKeyDetails) -> dict[str, object]:
    return {
        "user_id": key.user_id,
        "name": key.name,
        "scopes": key.scopes,
        "expires_at": key.expires_at and key.expires_at.isoformat(),
    }
