"""`/admin/kicks`, `/admin/bans` and `/admin/address-bans`: many users and ranges of addresses at a time.

Each target has a result of its own. What can be done is done; who cuts off in the middle finds out from the audit log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, cast

import msgspec
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.programs import bots
from parley.auth.components import Components, Current
from parley.auth.full_admins import require_not_above
from parley.auth.http.admin.moderation import KickResponse, carry_out
from parley.auth.http.admin.parameters import EntryId, ForHowLong, Limit, ReasonBody, duration
from parley.auth.http.admin.rights import Admin
from parley.auth.http.endpoints import Ok
from parley.auth.moderation import address_bans, kick_records, restrictions
from parley.auth.moderation.audit import Actor
from parley.auth.moderation.kicks import KickOrder
from parley.auth.standing import ban_message
from parley.auth.tokens.claims import MAX_SUBJECT
from parley.auth.user_rows import lock_if_known
from parley.common.errors import Code, Reject
from parley.common.http.address_ranges import AddressRange, AddressRanges, parse_range
from parley.common.http.bodies import body_of, described

router = APIRouter(prefix="/admin", tags=["admin"])

MAX_USERS = 500
MAX_RANGES = 100
AT_ONCE = 50
"""Targets of one transaction."""
OK = "ok"
"""The result of a target that it was done to."""

User = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SUBJECT, pattern=r"^[^\x00]*$")]
Range = Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="such as 192.0.2.0/24 or 2001:db8::/32")]


class Targets(ReasonBody, frozen=True):
    """Whom, and why: users, ranges of addresses, or both."""

    users: Annotated[tuple[User, ...], msgspec.Meta(max_length=MAX_USERS, description="ids")] = ()
    ranges: Annotated[tuple[Range, ...], msgspec.Meta(max_length=MAX_RANGES)] = ()


class BannedTargets(Targets, frozen=True):
    """Whom, why, and for how long."""

    duration_seconds: ForHowLong = None
    force: Annotated[bool, msgspec.Meta(description="also a range that your own address is in")] = False


GivenTargets = Annotated[Targets, body_of(Targets)]
GivenBannedTargets = Annotated[BannedTargets, body_of(BannedTargets)]


class TargetResult(BaseModel):
    """What became of one target; those beside it have results of their own."""

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
    """A banned range of addresses, as administrators see it."""

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
    """End every connection of some users and from some ranges of addresses; they may come back.

    A user whom there never was is `not_found`; of guests nobody keeps a list.
    """
    ranges, orders = _ranges(body, components), _Orders(admin, Code.KICKED)

    async def kick_user(connection: AsyncConnection, user_id: str) -> None:
        user = await lock_if_known(connection, user_id)
        require_not_above(admin.identity, user.roles if user is not None else ())
        await admin.record(connection, "user.kick", user_id, {"reason": body.reason})

    async def kick_range(connection: AsyncConnection, kicked: str) -> None:
        await admin.record(connection, "address.kick", kicked, {"reason": body.reason})

    async def order_users(connection: AsyncConnection, users: list[str]) -> None:
        await orders.add(connection, body.reason, users=users)

    async def order_ranges(connection: AsyncConnection, kicked: list[str]) -> None:
        await orders.add(connection, body.reason, ranges=kicked)

    results = await _each(components, orders, _users(body), kick_user, order_users)
    results += await _each(components, orders, [str(each) for each in ranges], kick_range, order_ranges)
    return await orders.carry_out(components, body.reason, results)


@router.post("/bans", summary="Keep many out", openapi_extra=described(BannedTargets))
async def ban_many(body: GivenBannedTargets, request: Request, components: Current, admin: Admin) -> BulkResponse:
    """Ban some users and some ranges of addresses, and end their connections.

    From a banned range nobody is let in, with whatever token; administrators still reach the admin API. A range that
    your own address is in is `forbidden` without `force`, and so is what somebody who may more has banned already.
    """
    ranges, lasting = {str(each): each for each in _ranges(body, components)}, duration(body.duration_seconds)
    orders = _Orders(admin, Code.BANNED)
    own = request.client.host if request.client else ""
    ends: list[datetime | None] = []

    async def ban_user(connection: AsyncConnection, user_id: str) -> None:
        ends.append(await restrictions.ban(connection, user_id, body.reason, admin, lasting))

    async def ban_range(connection: AsyncConnection, banned: str) -> None:
        # Most likely a slip: it would end the connections of the administrator who asks.
        if not body.force and AddressRanges([(banned, 1.0)]).hold(own, 0.0):
            raise Reject(Code.FORBIDDEN, "Your own address is in this range.")
        ends.append(await address_bans.ban(connection, ranges[banned], body.reason, admin, lasting))

    def message() -> str:
        return ban_message(body.reason, ends[-1] if ends else None)

    async def order_users(connection: AsyncConnection, users: list[str]) -> None:
        await orders.add(connection, message(), users=[*users, *await bots.owned_by(connection, users)])

    async def order_ranges(connection: AsyncConnection, banned: list[str]) -> None:
        await orders.add(connection, message(), ranges=banned)

    results = await _each(components, orders, _users(body), ban_user, order_users)
    of_ranges = await _each(components, orders, list(ranges), ban_range, order_ranges)
    if any(each.result == OK for each in of_ranges):
        await components.address_bans.renew()
        await components.gateways.renew_address_bans()
    return await orders.carry_out(components, message(), [*results, *of_ranges])


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
async def lift_address_ban(ban_id: Annotated[int, Path(ge=1, lt=2**63)], components: Current, admin: Admin) -> Ok:
    """End the ban of a range: `not_found` for one that has ended."""
    async with components.database.transaction() as connection:
        await address_bans.lift(connection, ban_id, admin)
    await components.address_bans.renew()
    await components.gateways.renew_address_bans()
    return Ok()


def _shown(row: Row[Any]) -> AddressBanDetails:
    return AddressBanDetails(
        id=row.id, range=str(row.range), reason=row.reason, banned_by=row.banned_by, created_at=row.created_at,
        expires_at=row.expires_at,
    )  # fmt: skip


def _users(body: Targets) -> list[str]:
    # In one order, so that two who ask for the same do not wait for each other in a circle.
    return sorted(set(body.users))


def _ranges(body: Targets, components: Components) -> list[AddressRange]:
    """Return the ranges that are meant, each once.

    Raises `Reject(invalid_payload)`, also when nobody is meant, or with one slip of the hand everybody.
    """
    settings = components.settings
    widest = {4: settings.auth_widest_range_ipv4, 6: settings.auth_widest_range_ipv6}
    found: dict[AddressRange, None] = {}
    for text in body.ranges:
        try:
            found[parse_range(text)] = None
        except ValueError as error:
            raise Reject(Code.INVALID_PAYLOAD, f"ranges: {error}") from error
    for each in found:
        if each.prefixlen < widest[each.version]:
            bound = f"/{widest[each.version]}, the widest of IPv{each.version} that this server takes"
            raise Reject(Code.INVALID_PAYLOAD, f"ranges: {each} is wider than {bound}.")
    if not found and not body.users:
        raise Reject(Code.INVALID_PAYLOAD, "Name users, ranges or both.")
    return list(found)


class _Orders:
    """The kick of a request about many: written down with each part of it, so that no crash keeps one without."""

    def __init__(self, admin: Actor, code: Code) -> None:
        self._admin = admin
        self._code = code
        self.written: KickOrder | None = None

    async def add(
        self, connection: AsyncConnection, reason: str, *, users: Sequence[str] = (), ranges: Sequence[str] = ()
    ) -> None:
        """Order that the connections of these end as well, in the transaction that says why they do."""
        self.written = await kick_records.write_order(
            connection, self._admin.user_id, self._code, reason, users=users, ranges=ranges, begun=self.written
        )

    async def carry_out(self, components: Components, reason: str, results: list[TargetResult]) -> BulkResponse:
        """Have gateways do what was committed, and answer. Raises `Reject`."""
        if self.written is None:
            async with components.database.transaction() as connection:
                await self.add(connection, reason)
        order = cast("KickOrder", self.written)
        return BulkResponse(results=results, **(await carry_out(components, order)).model_dump())


async def _each(
    components: Components,
    orders: _Orders,
    targets: Sequence[str],
    do: Callable[[AsyncConnection, str], Awaitable[Any]],
    then: Callable[[AsyncConnection, list[str]], Awaitable[None]],
) -> list[TargetResult]:
    """Do it to each target, some in a transaction, and then in the same what follows for these; returns all results."""
    results: list[TargetResult] = []
    # Some at a time: five hundred rows would stay locked until the last one is done.
    for start in range(0, len(targets), AT_ONCE):
        batch = targets[start : start + AT_ONCE]
        outcomes, written = dict[str, str](), orders.written
        try:
            async with components.database.transaction() as connection:
                for target in batch:
                    outcomes[target] = OK
                    try:
                        await do(connection, target)
                    except Reject as rejection:
                        # The database is away, or somebody was faster: nothing of this transaction can be kept.
                        if rejection.retryable:
                            raise
                        outcomes[target] = str(rejection.code)
                if done := [target for target in batch if outcomes[target] == OK]:
                    await then(connection, done)
        except Reject as rejection:
            # None of the transaction holds, what it ordered neither.
            outcomes, orders.written = dict.fromkeys(batch, str(rejection.code)), written
        results += [TargetResult(target=target, result=outcomes[target]) for target in batch]
    return results
