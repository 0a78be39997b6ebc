"""Banned ranges of addresses: nobody is let in from one, with whatever token, until it is lifted or ends by itself.

Every replica keeps them in memory, because every authentication looks. It reads them anew when it changes them, when a
gateway asks for them, and every two seconds. Gateways, which are told at once, refuse at the door meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.database import Database
from parley.auth.moderation.audit import Actor
from parley.auth.moderation.restrictions import audit_detail, detail_of, end_of, right_to_lift
from parley.auth.moderation.restrictions import lift as lift_row
from parley.auth.standing import stands
from parley.auth.tables import address_bans
from parley.common.errors import Code, Reject
from parley.common.http.address_ranges import AddressRange, AddressRanges
from parley.common.wire import subjects
from parley.common.wire.address_bans import BANNED, MAX_ADDRESS_BANS, AddressBan, AddressBanList, ListAddressBans
from parley.framework import Bus

RENEW_SECONDS = 2.0
BANS_LOCK = 0x6E657473
"""Key of the advisory lock under which ranges are banned: two bans of one at once would both find none that stands."""

_STANDS = stands(address_bans)


async def ban(
    connection: AsyncConnection, banned: AddressRange, reason: str, admin: Actor, duration: timedelta | None
) -> datetime | None:
    """Ban a range, for ever without a duration, replacing a ban of the same range; returns until when.

    Raises `Reject` with `limit_exceeded` when as many stand as gateways can be told, and `forbidden` where one of it
    stands that somebody who may more has set.
    """
    # Of the whole table, for the sake of the count: rows that are not there yet cannot be locked.
    await connection.execute(select(func.pg_advisory_xact_lock(BANS_LOCK)))
    same = address_bans.c.range == str(banned)
    before = await lift_row(connection, address_bans, same, admin)
    standing = await connection.scalar(select(func.count()).select_from(address_bans).where(_STANDS))
    if (standing or 0) >= MAX_ADDRESS_BANS:
        raise Reject(Code.LIMIT_EXCEEDED, f"At most {MAX_ADDRESS_BANS} ranges are banned at a time.")
    row = {"range": str(banned), "reason": reason, "banned_by": admin.user_id, "expires_at": end_of(duration)}
    new = insert(address_bans).values({**row, "right_to_lift": right_to_lift(admin)})
    made = (await connection.execute(new.returning(address_bans))).one()
    changed = {"before": {"ban": audit_detail(before)}, "after": {"ban": audit_detail(made)}}
    await admin.record(connection, "address.ban", str(banned), detail_of(reason, duration), **changed)
    return made.expires_at


async def lift(connection: AsyncConnection, ban_id: int, admin: Actor) -> None:
    """End a ban.

    Raises `Reject` with `not_found` when there is none of this id that stands, `forbidden` for one of who may more.
    """
    before = await lift_row(connection, address_bans, address_bans.c.id == ban_id, admin)
    if before is None:
        raise Reject(Code.NOT_FOUND, "There is no such ban, or it has ended.")
    changed = {"before": {"ban": audit_detail(before)}, "after": {"ban": None}}
    await admin.record(connection, "address.unban", str(before.range), **changed)


async def standing(connection: AsyncConnection, limit: int, before: int | None) -> list[Row[Any]]:
    """Return bans that stand with an id below `before`, newest first."""
    query = select(address_bans).where(_STANDS).order_by(address_bans.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(address_bans.c.id < before)
    return list((await connection.execute(query)).all())


class AddressBans:
    """The ranges that are banned, as this replica knows them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ranges = AddressRanges()

    async def start(self, bus: Bus) -> None:
        """Read them, now or as soon as the database answers, and begin to tell gateways."""
        with suppress(Reject):
            await self.renew()
        await bus.respond(subjects.ADDRESS_BANS, ListAddressBans, self._list, bus.service)
        bus.run_forever(self._run(), name="address bans")

    def require_allowed(self, address: str) -> None:
        """Raise `Reject(banned)` for an address in a banned range."""
        if address and self._ranges.hold(address, time.monotonic()):
            raise Reject(Code.BANNED, BANNED)

    async def renew(self) -> list[AddressBan]:
        """Read them anew. Raises `Reject` in an outage, in which those that are known go on."""
        left: Any = func.extract("epoch", address_bans.c.expires_at - func.clock_timestamp())
        # In seconds from now, and not until when: clocks of gateways differ from the database's.
        query = select(address_bans.c.range, left).where(_STANDS).limit(MAX_ADDRESS_BANS)
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(query)).all()
        bans = [AddressBan(str(found), float(seconds or 0.0)) for found, seconds in rows]
        self._ranges = AddressRanges.of_bans(bans, time.monotonic())
        return bans

    async def _list(self, _asked: ListAddressBans) -> AddressBanList:
        return AddressBanList(await self.renew())

    async def _run(self) -> None:
        while True:
            # Another replica may have changed them; between replicas nothing is said.
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(Reject):
                await self.renew()
