"""Kicks as they are remembered: who was meant, how many connections ended, and which gateways have not said so yet.

| a gateway that had not answered | what happens | state |
|---|---|---|
| answers late: it had stood still, with the order in hand | what it ended is counted | `answered` |
| is alive again | it is sent the order anew, for connections of before it; its answer is counted | `answered` |
| has said goodbye, or was silent for so long that it is forgotten | its connections are gone | `forgotten` |

Without a connection to NATS nobody answers, and the order waits in `kicks` until there is one: by then it is for
connections of before it as well.

A kick that nobody was told of, because its process died between writing it down and doing it, is carried out after a
while, for connections of before it.

All of it is in Postgres, so that an auth that starts anew goes on with it; replicas do the same work, and each answer
counts once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from nats.aio.msg import Msg
from sqlalchemy import Row, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.database import Database
from parley.auth.metrics import KICKED_CONNECTIONS
from parley.auth.moderation.kicks import Gateways, KickOrder, KickResult
from parley.auth.tables import kick_gateways, kicks
from parley.common.errors import Code, Reject, known_code
from parley.common.process.logs import get_logger
from parley.common.process.tasks import repeat
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identifiers import uuid7
from parley.common.wire.operations import OperationReport
from parley.framework import Bus

log = get_logger(__name__)

FOLLOW_INTERVAL = 1.0
"""Seconds after which it is looked again what gateways that had not answered do now."""
UNTOLD_SECONDS = 10.0
"""Seconds after which whoever wrote a kick down must have told the gateways; else another process does."""
FOLLOWED = 500
"""Answers owed that are looked after at a time, the oldest first."""
KEPT = timedelta(days=30)
"""For how long a kick can be asked about."""
TIDY_INTERVAL = 3600.0

_SETTLE = text(
    """
    WITH answer AS (
        UPDATE auth.kick_gateways SET state = 'answered', settled_at = clock_timestamp()
        WHERE kick_id = :kick AND address = :address AND state = 'unanswered' RETURNING kick_id
    )
    UPDATE auth.kicks SET disconnected = disconnected + :ended FROM answer WHERE kicks.id = answer.kick_id
    """
)


_AGO: Any = func.extract("epoch", func.clock_timestamp() - kicks.c.at).label("seconds_ago")


@dataclass(frozen=True, slots=True)
class KickRecord:
    """A kick and what is known of it. Gateways are named for people."""

    id: str
    at: datetime
    admin_id: str
    users: list[str]
    ranges: list[str]
    code: str
    reason: str
    disconnected: int
    unanswered: list[str] = field(default_factory=list[str])
    answered: list[str] = field(default_factory=list[str])
    forgotten: list[str] = field(default_factory=list[str])


async def write_order(
    connection: AsyncConnection,
    admin_id: str,
    code: Code,
    reason: str,
    *,
    users: Iterable[str] = (),
    ranges: Iterable[str] = (),
    begun: KickOrder | None = None,
) -> KickOrder:
    """Write down a kick in the caller's transaction, to be carried out once that is committed.

    `begun` is what transactions before have written down of the same kick, which this one adds to.
    """
    more_users, more_ranges = tuple(users), tuple(ranges)
    if begun is not None:
        # It counts from now: the process that wrote the part of before is still at it, so no other is to take it over.
        added = update(kicks).where(kicks.c.id == begun.id)
        await connection.execute(
            added.values(
                at=func.clock_timestamp(),
                users=[*begun.users, *more_users],
                ranges=[*begun.ranges, *more_ranges],
                carried_out_at=None,
            )
        )
        return replace(begun, users=(*begun.users, *more_users), ranges=(*begun.ranges, *more_ranges))
    # The id is made here and not by the database: gateways answer on a subject that has it in its name.
    new = KickOrder(f"kick_{uuid7().hex}", more_users, more_ranges, code, reason)
    await connection.execute(
        insert(kicks).values(
            id=new.id, admin_id=admin_id, users=list(new.users), ranges=list(new.ranges), code=str(code), reason=reason
        )
    )
    return new


class KickRecords:
    """Carries out kicks, and follows them up until every gateway has answered or is forgotten."""

    def __init__(self, database: Database, gateways: Gateways) -> None:
        self._database = database
        self._gateways = gateways
        self._tidied = float("-inf")

    async def start(self, bus: Bus) -> None:
        """Begin to take late answers, and to look after those that are owed."""
        await bus.subscribe(subjects.KICK_REPORTS, self._hear, bus.service)
        bus.run_forever(repeat(self._follow, FOLLOW_INTERVAL, "kicks cannot be followed up"), name="kicks")

    async def carry_out(self, kick: KickOrder, min_age: float = 0.0) -> KickResult:
        """End the connections, and write down who owes an answer. Raises `Reject` when nobody can be told."""
        # Told first, written then: a crash between the two tells them again, which ends nobody who came since.
        result = await self._gateways.kick(kick, min_age)
        try:
            await self._write(kick, result)
        except Reject as rejection:
            log.warning("a kick is not followed up yet", kick=kick.id, code=str(rejection.code))
        return result

    async def find(self, kick_id: str) -> KickRecord | None:
        """Return a kick and what is known of it now; None for one that is not remembered."""
        owed = select(kick_gateways.c.name, kick_gateways.c.state).where(kick_gateways.c.kick_id == kick_id)
        async with self._database.autocommit() as connection:
            # The states first: what an answer changes is changed at once, so whoever is told that all have answered is
            # told of all connections that they ended.
            states = (await connection.execute(owed.order_by(kick_gateways.c.name))).all()
            shown = (column for column in kicks.c if column is not kicks.c.carried_out_at)
            row = (await connection.execute(select(*shown).where(kicks.c.id == kick_id))).mappings().first()
        if row is None:
            return None
        record = KickRecord(**row)
        for name, state in states:
            getattr(record, state).append(name)
        return record

    async def _write(self, kick: KickOrder, result: KickResult) -> None:
        async with self._database.transaction() as connection:
            done = {
                "disconnected": kicks.c.disconnected + result.disconnected,
                "carried_out_at": func.clock_timestamp(),
            }
            await connection.execute(update(kicks).where(kicks.c.id == kick.id).values(**done))
            # One row per gateway, by its address: a gateway that is restarted has another, and owes nothing of before.
            if result.owing:
                rows = [
                    {
                        "kick_id": kick.id,
                        "address": address,
                        "name": self._gateways.name_of(address),
                        "state": "unanswered",
                    }
                    for address in result.owing
                ]
                # Replicas may find the same kick untold.
                await connection.execute(insert(kick_gateways).values(rows).on_conflict_do_nothing())

    async def _hear(self, message: Msg) -> None:
        if not message.data:
            return  # the broker says that nobody listens, which the order's own answer says as well
        report = decode(message.data, OperationReport)
        settle = {"kick": subjects.parse_kicked(message.subject), "address": report.gateway, "ended": report.matched}
        # By the gateway's row, which changes once: an answer that is delivered twice, or to two replicas, counts once.
        async with self._database.autocommit() as connection:
            settled = (await connection.execute(_SETTLE, settle)).rowcount
        if settled:
            KICKED_CONNECTIONS.inc(report.matched)

    async def _follow(self) -> None:
        await self._tell_untold()
        await self._look_after()
        # Last: however much there is to delete, nobody who was kicked stays longer for it.
        if time.monotonic() - self._tidied > TIDY_INTERVAL:
            await self._tidy()

    async def _tell_untold(self) -> None:
        late = kicks.c.at < func.clock_timestamp() - timedelta(seconds=UNTOLD_SECONDS)
        # The oldest first, since whoever was kicked longest ago has been in too long already.
        untold = select(kicks, _AGO).where(kicks.c.carried_out_at.is_(None), late).order_by(kicks.c.at).limit(FOLLOWED)
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(untold)).all()
        for row in rows:
            await self.carry_out(_order_of(row), _age_of(row))

    async def _look_after(self) -> None:
        owed = (
            select(kick_gateways.c.address, kicks, _AGO)
            .join(kicks, kicks.c.id == kick_gateways.c.kick_id)
            .where(kick_gateways.c.state == "unanswered")
            .order_by(kicks.c.at)
            .limit(FOLLOWED)
        )
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(owed)).all()
        for row in rows:
            # Told again each second until it answers: it is asked for what is older than the kick, so it does no harm.
            if self._gateways.is_alive(row.address):
                await self._gateways.kick_late(_order_of(row), row.address, _age_of(row))
            elif self._gateways.is_forgotten(row.address):
                await self._forget(row.id, row.address)

    async def _forget(self, kick_id: str, address: str) -> None:
        # Only what is unanswered still: its answer may have come while this was on its way.
        gone = update(kick_gateways).where(
            kick_gateways.c.kick_id == kick_id,
            kick_gateways.c.address == address,
            kick_gateways.c.state == "unanswered",
        )
        async with self._database.autocommit() as connection:
            await connection.execute(gone.values(state="forgotten", settled_at=func.clock_timestamp()))

    async def _tidy(self) -> None:
        async with self._database.autocommit() as connection:
            await connection.execute(delete(kicks).where(kicks.c.at < func.clock_timestamp() - KEPT))
        self._tidied = time.monotonic()


def _order_of(row: Row[Any]) -> KickOrder:
    return KickOrder(row.id, tuple(row.users), tuple(row.ranges), known_code(row.code, Code.KICKED), row.reason)


def _age_of(row: Row[Any]) -> float:
    """Return seconds since a kick was written down, for connections of which it is meant: never 0, which means all."""
    return max(0.001, float(row.seconds_ago))
