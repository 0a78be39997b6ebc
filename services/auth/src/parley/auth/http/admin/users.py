"""`/admin/users`: find people."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.programs import api_keys, bots
from parley.auth.accounts.programs.api_keys import ApiKeyDetails
from parley.auth.accounts.programs.bots import BotDetails
from parley.auth.accounts.sessions.sessions import SessionDetails
from parley.auth.components import Current
from parley.auth.factors.own_factors import FactorsOverview
from parley.auth.http.admin.connections import MAX_CONNECTIONS, ConnectionsPage, LiveConnection, connections_page
from parley.auth.http.admin.moderation import require_somebody
from parley.auth.http.admin.parameters import NO_NUL, Limit, UserId
from parley.auth.http.admin.rights import Admin
from parley.auth.http.admin.user_details import QUERY, Ban, UserDetails, fields_of
from parley.auth.moderation import audit
from parley.auth.moderation.audit import AuditEntry, AuditFilter
from parley.auth.tables import api_keys as keys_table
from parley.auth.tables import bans as bans_table
from parley.auth.tables import users
from parley.auth.tokens.claims import MAX_SUBJECT
from parley.common.errors import Code, Reject

router = APIRouter(prefix="/admin/users", tags=["admin"])

MOST, FEW = 50, 20
"""Entries of a list on the page of one user."""


class PastBan(Ban):
    """A ban, whether it stands or not."""

    lifted_at: datetime | None = Field(description="when an administrator ended it; null: never")


class UserProfile(UserDetails):
    """A user with all there is about them."""

    sessions: list[SessionDetails] = Field(description="those that stand, used last first")
    connections: list[LiveConnection]
    unanswered: list[str] = Field(description="gateways that may hold more connections")
    bans: list[PastBan] = Field(description="newest first")
    api_keys: list[ApiKeyDetails] = Field(description="of a bot; newest first")
    bots: list[BotDetails] = Field(description="newest first")
    email: str | None = Field(description="their verified address")
    factors: FactorsOverview
    audit: list[AuditEntry] = Field(description="what administrators did to them, newest first")


class UsersPage(BaseModel):
    """Users, newest first; `more` means the last one's id as `before` gives the next page."""

    users: list[UserDetails]
    more: bool


@router.get("", summary="List and find users")
async def list_users(
    components: Current,
    _admin: Admin,
    search: Annotated[str, Query(max_length=128, pattern=NO_NUL, description="part of an id, name or username")] = "",
    kind: Annotated[Literal["local", "external", "bot"] | None, Query(description="of this kind alone")] = None,
    limit: Limit = 50,
    before: Annotated[str, Query(max_length=MAX_SUBJECT, pattern=NO_NUL, description="id of the last user seen")] = "",
) -> UsersPage:
    """Users, newest first, with the ban and the suspension that stand if any."""
    query = QUERY.order_by(users.c.created_at.desc(), users.c.id.desc()).limit(limit + 1)
    if search:
        columns = (users.c.username, users.c.name, users.c.id)
        query = query.where(or_(*(column.icontains(search, autoescape=True) for column in columns)))
    if kind is not None:
        query = query.where(users.c.kind == kind)
    if before:
        last = select(users.c.created_at, users.c.id).where(users.c.id == before).scalar_subquery()
        # By both: users that were made in the same moment would else be left out between two pages.
        query = query.where(tuple_(users.c.created_at, users.c.id) < last)
    async with components.database.autocommit() as connection:
        rows = (await connection.execute(query)).all()
        if before and not rows and await connection.scalar(select(users.c.id).where(users.c.id == before)) is None:
            # An empty page would say that this is the end.
            raise Reject(Code.NOT_FOUND, "before: there is no such user.")
    return UsersPage(users=[UserDetails(**fields_of(row)) for row in rows[:limit]], more=len(rows) > limit)


@router.get("/{user_id:path}/connections", summary="A user's live connections")
async def list_connections(user_id: UserId, components: Current, _admin: Admin) -> ConnectionsPage:
    """Which gateway, since when, from which address and over which transport; also for guests.

    `not_found` for a user whom there never was.
    """
    await require_somebody(components, user_id)
    return await connections_page(components.gateways, user_id, MAX_CONNECTIONS)


@router.get("/{user_id:path}", summary="One user, with all there is about them")
async def get_user(user_id: UserId, components: Current, _admin: Admin) -> UserProfile:
    """A user by id: `not_found` for one we do not know. Of each list it holds the newest entries.

    What is live is asked of the gateways; one that does not answer is in `unanswered`, and nobody waits for it longer
    than two seconds.
    """
    async with components.database.autocommit() as connection:
        row = (await connection.execute(QUERY.where(users.c.id == user_id))).first()
        if row is None:
            raise Reject(Code.NOT_FOUND, "There is no such user.")
        stored = await _stored(connection, user_id)
    sessions = await components.sessions.of_user(user_id, "")
    email = await components.own_address.of_user(user_id)
    factors = await components.own_factors.overview(user_id)
    # Last, and with no connection of the database in hand: gateways are waited for up to two seconds.
    live = await connections_page(components.gateways, user_id, MOST)
    return UserProfile(
        **fields_of(row),
        sessions=sessions[:MOST],
        email=email.address if email is not None else None,
        factors=factors,
        connections=live.connections,
        unanswered=live.unanswered,
        **stored,
    )


async def _stored(connection: AsyncConnection, user_id: str) -> dict[str, Any]:
    past = select(bans_table).where(bans_table.c.user_id == user_id).order_by(bans_table.c.id.desc()).limit(FEW)
    keys = keys_table.c.user_id == user_id
    return {
        "bans": [PastBan.model_validate(dict(each)) for each in (await connection.execute(past)).mappings()],
        "api_keys": await api_keys.listed(connection, keys, MOST),
        "bots": await bots.listed(connection, users.c.owner_id == user_id, MOST),
        "audit": await audit.entries(connection, FEW, None, AuditFilter(target=user_id)),
    }
