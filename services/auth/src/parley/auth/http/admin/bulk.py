"""`/admin/kicks`, `/admin/bans` and `/admin/address-bans`: many users and ranges of addresses at a time.

Each target has a result of its own. What can be done is done; who cuts off in the middle finds out from the audit log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts import bots
from parley.auth.components import Components, Current
from parley.auth.http.admin.moderation import KickResponse, carried_out, require_equal
from parley.auth.http.admin.parameters import Because, EntryId, ForHowLong, Limit, duration
from parley.auth.http.admin.rights import Admin
from parley.auth.http.endpoints import Done
from parley.auth.moderation import address_bans, kick_records, restrictions
from parley.auth.standing import ban_message
from parley.auth.tokens.claims import MAX_SUBJECT
from parley.common.errors import Code, Reject
from parley.common.http.address_ranges import AddressRange, AddressRanges, parse_range
from parley.common.http.bodies import body_of, described

router = APIRouter(prefix="/admin", tags=["admin"])

MAX_USERS = 500
MAX_RANGES = 100
AT_ONCE = 50
"""Targets of one transaction."""

User = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SUBJECT, pattern=r"^[^\x00]*$")]
Range = Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="such as 192.0.2.0/24 or 2001:db8::/32")]


class Targets(Because, frozen=True):
    """Whom, and why."""

    users: Annotated[tuple[User, ...], msgspec.Meta(max_length=MAX_USERS, description="ids")] = ()
    ranges: Annotated[tuple[Range, ...], msgspec.Meta(max_length=MAX_RANGES)] = ()


class BannedTargets(Targets, frozen=True):
    """Whom, why, and for how long."""

    duration_seconds: ForHowLong = None


GivenTargets = Annotated[Targets, body_of(Targets)]
GivenBannedTargets = Annotated[BannedTargets, body_of(BannedTargets)]


class TargetResult(BaseModel):
    """What became of one target."""

    target: str = Field(description="the id, or the range as it was understood")
    result: str = Field(description="`ok`, or the code of what refused it")


class BulkResponse(KickResponse):
    """What became of each target, and of their connections together."""

    results: list[TargetResult]


class KickReport(BaseModel):
    """A kick, and what is known of it now. Gateways are named."""

    id: str
    at: datetime
    admin_id: str
    users: list[str]
    ranges: list[str]
    code: str = Field(description="what clients were told: `kicked`, `banned` or `revoked_token`")
    reason: str
    disconnected: int = Field(description="connections that were ended, as far as gateways have said")
    unanswered: list[str] = Field(description="gateways of which it is unknown yet; this changes")
    answered: list[str] = Field(description="gateways that did not answer at first and have since")
    forgotten: list[str] = Field(description="gateways that never came back, and hold nothing any more")
    complete: bool = Field(description="whether nothing is unknown")


class AddressBanDetails(BaseModel):
    """A banned range."""

    id: int
    range: str
    reason: str
    banned_by: str
    created_at: datetime
    expires_at: datetime | None = Field(description="null: until it is lifted")


class AddressBansPage(BaseModel):
    """Banned ranges, newest first; `more` means the last one's id as `before` gives the next page."""

    bans: list[AddressBanDetails]
    more: bool


@router.post("/kicks", summary="End the connections of many", openapi_extra=described(Targets))
async def kick_many(body: GivenTargets, components: Current, admin: Admin) -> BulkResponse:
    """End every connection of some users and from some ranges of addresses; they may come back."""
    ranges = _ranges(body)

    async def kick_user(connection: AsyncConnection, user_id: str) -> None:
        await require_equal(connection, admin, user_id)
        await admin.record(connection, "user.kick", user_id, {"reason": body.reason})

    async def kick_range(connection: AsyncConnection, kicked: str) -> None:
        await admin.record(connection, "address.kick", kicked, {"reason": body.reason})

    users, done = await _each(components, _users(body), kick_user)
    kicked, also = await _each(components, [str(each) for each in ranges], kick_range)
    async with components.database.transaction() as connection:
        order = await kick_records.order(
            connection, admin.user_id, Code.KICKED, body.reason, users=users, ranges=kicked
        )
    return BulkResponse(results=[*done, *also], **(await carried_out(components, order)).model_dump())


@router.post("/bans", summary="Keep many out", openapi_extra=described(BannedTargets))
async def ban_many(body: GivenBannedTargets, request: Request, components: Current, admin: Admin) -> BulkResponse:
    """Ban some users and some ranges of addresses, and end their connections.

    From a banned range nobody is let in, with whatever token; administrators still reach the admin API. A range that
    your own address is in is `forbidden`.
    """
    ranges, lasting = {str(each): each for each in _ranges(body)}, duration(body.duration_seconds)
    own = request.client.host if request.client else ""
    ends: list[datetime | None] = []

    async def ban_user(connection: AsyncConnection, user_id: str) -> None:
        ends.append(await restrictions.ban(connection, user_id, body.reason, admin, lasting))

    async def ban_range(connection: AsyncConnection, banned: str) -> None:
        if AddressRanges([(banned, 1.0)]).hold(own, 0.0):
            raise Reject(Code.FORBIDDEN, "Your own address is in this range.")
        ends.append(await address_bans.ban(connection, ranges[banned], body.reason, admin, lasting))

    users, done = await _each(components, _users(body), ban_user)
    banned, also = await _each(components, list(ranges), ban_range)
    async with components.database.transaction() as connection:
        told = ban_message(body.reason, ends[-1] if ends else None)
        ended = [*users, *await bots.owned_by(connection, users)]
        order = await kick_records.order(connection, admin.user_id, Code.BANNED, told, users=ended, ranges=banned)
    if banned:
        await components.address_bans.renew()
        await components.gateways.renew_address_bans()
    return BulkResponse(results=[*done, *also], **(await carried_out(components, order)).model_dump())


@router.get("/kicks/{kick_id}", summary="What became of a kick")
async def get_kick(
    kick_id: Annotated[str, Path(pattern=r"^kick_[0-9a-f]{32}$")], components: Current, _admin: Admin
) -> KickReport:
    """Ask again until it is `complete`: gateways that did not answer at first come back, or are forgotten.

    It is remembered for 30 days.
    """
    record = await components.kicks.find(kick_id)
    if record is None:
        raise Reject(Code.NOT_FOUND, "There is no such kick.")
    return KickReport(**asdict(record), complete=not record.unanswered)


@router.get("/address-bans", summary="Banned ranges of addresses")
async def list_address_bans(
    components: Current, _admin: Admin, limit: Limit = 50, before: EntryId = None
) -> AddressBansPage:
    """The ranges that are banned now, newest first."""
    async with components.database.autocommit() as connection:
        rows = await address_bans.standing(connection, limit + 1, before)
    return AddressBansPage(bans=[_shown(row) for row in rows[:limit]], more=len(rows) > limit)


@router.delete("/address-bans/{ban_id}", summary="Let a range in again")
async def lift_address_ban(ban_id: Annotated[int, Path(ge=1, lt=2**63)], components: Current, admin: Admin) -> Done:
    """End the ban of a range: `not_found` for one that has ended."""
    async with components.database.transaction() as connection:
        await address_bans.lift(connection, ban_id, admin)
    await components.address_bans.renew()
    await components.gateways.renew_address_bans()
    return Done()


def _shown(row: Row[Any]) -> AddressBanDetails:
    return AddressBanDetails(
        id=row.id, range=str(row.range), reason=row.reason, banned_by=row.banned_by, created_at=row.created_at,
        expires_at=row.expires_at,
    )  # fmt: skip


def _users(body: Targets) -> list[str]:
    # In one order, so that two who ask for the same do not wait for each other in a circle.
    return sorted(set(body.users))


def _ranges(body: Targets) -> list[AddressRange]:
    """The ranges that are meant, each once. Raises `Reject(invalid_payload)`, also when nobody is meant."""
    found: dict[AddressRange, None] = {}
    for text in body.ranges:
        try:
            found[parse_range(text)] = None
        except ValueError as error:
            raise Reject(Code.INVALID_PAYLOAD, f"ranges: {error}") from error
    if not found and not body.users:
        raise Reject(Code.INVALID_PAYLOAD, "Name users, ranges or both.")
    return list(found)


async def _each(
    components: Components, targets: Sequence[str], do: Callable[[AsyncConnection, str], Awaitable[Any]]
) -> tuple[list[str], list[TargetResult]]:
    """Do it to each target; returns those that it was done to, and the result of every one."""
    done: list[str] = []
    results: list[TargetResult] = []
    for start in range(0, len(targets), AT_ONCE):
        batch = targets[start : start + AT_ONCE]
        outcomes: dict[str, str] = {}
        try:
            async with components.database.transaction() as connection:
                for target in batch:
                    outcomes[target] = "ok"
                    try:
                        await do(connection, target)
                    except Reject as rejection:
                        if rejection.retryable:
                            raise
                        outcomes[target] = str(rejection.code)
        except Reject as rejection:
            # None of the transaction holds.
            outcomes = dict.fromkeys(batch, str(rejection.code))
        done += [target for target in batch if outcomes[target] == "ok"]
        results += [TargetResult(target=target, result=outcomes[target]) for target in batch]
    return done, results
