"""`/auth/bots`: a user makes bots and their API keys."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.programs import api_keys, bots
from parley.auth.accounts.programs.api_keys import MAX_SCOPES, SCOPE, ApiKeyDetails, NewApiKey
from parley.auth.accounts.programs.bots import BotDetails
from parley.auth.components import Bearer, Components, Current
from parley.auth.http.endpoints import Ok
from parley.auth.moderation import kick_records
from parley.auth.moderation.kicks import KickOrder
from parley.auth.tables import api_keys as keys_table
from parley.auth.tables import users
from parley.auth.tokens.api_key import PATTERN
from parley.common.errors import Code, Reject
from parley.common.http.bodies import body_of, described
from parley.common.wire.identity import Identity

router = APIRouter(prefix="/auth/bots", tags=["bots"])

MAX_LISTED = 1_000
DAY = 86_400
MAX_LIFETIME = 10 * 366 * DAY

BotId = Annotated[str, Path(pattern=r"^u_[0-9a-f]{32}$")]
KeyId = Annotated[str, Path(pattern=PATTERN)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f]$(?!\n)")]
Scope = Annotated[str, msgspec.Meta(pattern=SCOPE, max_length=80)]
Scopes = Annotated[
    list[Scope],
    msgspec.Meta(
        min_length=1,
        max_length=MAX_SCOPES,
        description="such as `chat:read`, `chat:write`; `admin:read` to `admin:own` let an administrator's roles count",
    ),
]


class NewBot(msgspec.Struct, frozen=True):
    """A bot to be made. Its name is what others see of it."""

    name: Name


class KeyRequest(msgspec.Struct, frozen=True):
    """A key to be made: its name for people, what it is good for, and for how long."""

    name: Name
    scopes: Scopes
    duration_seconds: Annotated[
        Annotated[int, msgspec.Meta(ge=60, le=MAX_LIFETIME)] | None, msgspec.Meta(description="null: for ever")
    ] = None

    @property
    def lifetime(self) -> timedelta | None:
        """For how long, or None for ever."""
        return None if self.duration_seconds is None else timedelta(seconds=self.duration_seconds)


class Rotation(msgspec.Struct, frozen=True):
    """For how long the secret of now stays good beside the new one."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=30 * DAY)] = DAY


GivenBot = Annotated[NewBot, body_of(NewBot)]
GivenKey = Annotated[KeyRequest, body_of(KeyRequest)]
GivenRotation = Annotated[Rotation, body_of(Rotation)]


class BotList(BaseModel):
    """A user's bots, newest first."""

    bots: list[BotDetails]


class KeyList(BaseModel):
    """A bot's API keys, newest first, those that have ended as well."""

    keys: list[ApiKeyDetails]


async def _writer(identity: Bearer, components: Current) -> Identity:
    """Return the user who sends a request, if they may write, and do not do it too often. Raises `Reject`."""
    if identity.suspended:
        raise Reject(Code.SUSPENDED)
    components.account_changes.take(identity.user_id, time.monotonic())
    return identity


Owner = Annotated[Identity, Depends(_writer)]


@router.get("", summary="My bots")
async def list_bots(components: Current, identity: Bearer) -> BotList:
    """The bots of the bearer."""
    async with components.database.autocommit() as connection:
        return BotList(bots=await bots.listed(connection, users.c.owner_id == identity.user_id, MAX_LISTED))


@router.post("", summary="Make a bot", openapi_extra=described(NewBot))
async def create_bot(identity: Owner, components: Current, body: GivenBot) -> BotDetails:
    """A bot of the bearer's: `limit_exceeded` when they have as many as one may have here."""
    async with components.database.transaction() as connection:
        limit = components.settings.auth_bots_per_user
        return await bots.create(connection, body.name.strip(), identity.user_id, limit)


@router.delete("/{bot_id}", summary="Delete a bot")
async def delete_bot(bot_id: BotId, components: Current, identity: Owner) -> Ok:
    """Its keys are refused from now on and its connections end. What it wrote stays."""
    async with components.database.transaction() as connection:
        await bots.require(connection, bot_id, identity.user_id)
        order = await remove_bot(connection, bot_id, identity.user_id)
    await components.kicks.carry_out(order)
    return Ok()


@router.get("/{bot_id}/keys", summary="A bot's API keys")
async def list_keys(bot_id: BotId, components: Current, identity: Bearer) -> KeyList:
    """The keys without their secrets, which nobody can be told again."""
    async with components.database.transaction() as connection:
        await bots.require(connection, bot_id, identity.user_id)
        return KeyList(keys=await api_keys.listed(connection, keys_table.c.user_id == bot_id, MAX_LISTED))


@router.post("/{bot_id}/keys", summary="Make an API key", openapi_extra=described(KeyRequest))
async def create_key(identity: Owner, bot_id: BotId, components: Current, body: GivenKey) -> NewApiKey:
    """A key of a bot of the bearer's. It is shown this once."""
    async with components.database.transaction() as connection:
        await bots.require(connection, bot_id, identity.user_id)
        return await api_keys.create(
            connection, bot_id, body.name.strip(), body.scopes, identity.user_id, body.lifetime
        )


@router.post(
    "/{bot_id}/keys/{key_id}/rotate", summary="Give an API key a new secret", openapi_extra=described(Rotation)
)
async def rotate_key(
    identity: Owner, bot_id: BotId, key_id: KeyId, components: Current, body: GivenRotation
) -> NewApiKey:
    """Its name, scopes and end stay. Both secrets are good while they overlap.

    Connections by the secret of before end with the overlap, and at once without one.
    """
    async with components.database.transaction() as connection:
        await bots.require(connection, bot_id, identity.user_id)
        which = (keys_table.c.id == key_id) & (keys_table.c.user_id == bot_id)
        made = await api_keys.rotate(connection, which, timedelta(seconds=body.overlap_seconds))
    await end_rotated(components, made, body)
    return made


@router.delete("/{bot_id}/keys/{key_id}", summary="Revoke an API key")
async def revoke_key(bot_id: BotId, key_id: KeyId, components: Current, identity: Owner) -> Ok:
    """It is refused from now on, and connections that came with it end."""
    async with components.database.transaction() as connection:
        await bots.require(connection, bot_id, identity.user_id)
        await api_keys.revoke(connection, (keys_table.c.id == key_id) & (keys_table.c.user_id == bot_id))
    await components.gateways.end_sessions(bot_id, [key_id])
    return Ok()


async def end_rotated(components: Components, key: ApiKeyDetails, body: Rotation) -> None:
    """End what a secret opened that is good no more; `RotatedKeys` sees to it if gateways do not hear of it now."""
    if body.overlap_seconds:
        # A secret from before the one that stays good may have been good until now.
        await components.gateways.recheck([key.user_id])
    else:
        await components.gateways.end_sessions(key.user_id, [key.id])


async def remove_bot(connection: AsyncConnection, bot_id: str, by: str) -> KickOrder:
    """Delete a bot; returns the order to end its connections, to be carried out once this is committed."""
    await bots.remove(connection, bot_id)
    return await kick_records.write_order(connection, by, Code.INVALID_TOKEN, "This bot was deleted.", users=[bot_id])
