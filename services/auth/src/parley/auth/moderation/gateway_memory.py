"""Which gateways lived lately, kept in Postgres, so that a restart of auth does not forget one that is silent.

A gateway that stands still or is cut off sends no sign of life. An auth that starts meanwhile learns of it here alone,
and names it in `unanswered` as the one before did. All replicas write the same rows.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from parley.auth.database import Database
from parley.auth.tables import gateways
from parley.common.process.tasks import repeat
from parley.framework import Reject
from parley.framework.remote.gateway_registry import FORGET_AFTER, GatewayRegistry, Sighting

LOOK_INTERVAL = 1.0
"""Seconds after which it is looked again whether there are gateways to write down or to strike out."""
REFRESH_INTERVAL = 60.0
"""Seconds after which those that live are written again: their rows must not look older than they are."""


class GatewayMemory:
    """Writes down what the registry hears, and gives it to a registry that has heard nothing yet."""

    def __init__(self, database: Database, registry: GatewayRegistry) -> None:
        self._database = database
        self._registry = registry
        self._recalled = False
        self._kept: set[str] = set()
        self._alive: set[str] = set()
        self._written = float("-inf")

    async def start(self) -> None:
        """Tell the registry of the gateways that lived lately, now or as soon as the database answers."""
        with suppress(Reject):
            await self._recall()

    async def _recall(self) -> None:
        ago: Any = func.extract("epoch", func.clock_timestamp() - gateways.c.last_heard)
        lately = gateways.c.last_heard > _before(FORGET_AFTER)
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(select(gateways.c.address, gateways.c.started, ago).where(lately))).all()
        sightings = [Sighting(address, started, max(0.0, float(seconds))) for address, started, seconds in rows]
        self._kept = {sighting.address for sighting in sightings}
        self._registry.remember(sightings)
        self._recalled = True

    async def run(self) -> None:
        """Write down, for ever, which gateways live, when that changes and once in a while."""
        # Without it auth does all of its work, but for the names of silent gateways after a restart.
        await repeat(self._write, LOOK_INTERVAL, "living gateways cannot be written down")

    async def _write(self) -> None:
        """Write who lives and strike out who has gone, if there is anything new. Raises `Reject` in an outage."""
        if not self._recalled:
            await self._recall()
        sightings = self._registry.sightings()
        known, alive = {sighting.address for sighting in sightings}, set(self._registry.alive())
        gone, now = self._kept - known, time.monotonic()
        # Nothing is written for as long as nothing changes: a sign of life comes each second from each gateway.
        if not gone and alive == self._alive and now - self._written < REFRESH_INTERVAL:
            return
        # Who has just fallen silent is written once more: it is remembered from when it was last heard.
        fresh = [sighting for sighting in sightings if sighting.address in alive | self._alive]
        async with self._database.transaction() as connection:
            if fresh:
                values = [
                    {"address": address, "started": started, "last_heard": _before(seconds_ago)}
                    for address, started, seconds_ago in sorted(fresh)
                ]
                new = insert(gateways).values(values)
                later = func.greatest(gateways.c.last_heard, new.excluded.last_heard)
                write = new.on_conflict_do_update(index_elements=["address"], set_={"last_heard": later})
                await connection.execute(write)
            old = gateways.c.last_heard < _before(FORGET_AFTER)
            await connection.execute(delete(gateways).where(gateways.c.address.in_(gone) | old))
        self._kept, self._alive, self._written = known, alive, now


def _before(seconds: float) -> Any:
    """Return the database's time so many seconds ago; clocks of replicas may differ."""
    return func.clock_timestamp() - timedelta(seconds=seconds)
