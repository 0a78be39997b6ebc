"""The database's time, as every replica knows it: what tokens were issued by is what they are judged by."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import func, select

from parley.auth.database import Database
from parley.common.errors import Reject

MEASURE_SECONDS = 30.0
"""Seconds after which it is measured again; another server may have taken over meanwhile."""


class DatabaseClock:
    """Tells the database's time without asking it each time, wherever this host's clock stands or is set to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Return the time in Unix seconds, wrong by at most what a query takes."""
        return time.monotonic() + self._offset

    async def measure(self) -> None:
        """Ask the database what time it is. Raises `Reject`."""
        async with self._database.autocommit() as connection:
            before = time.monotonic()
            said = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            # It was said somewhere between question and answer.
            self._offset = said.timestamp() - (before + time.monotonic()) / 2

    async def run(self) -> None:
        """Measure now and then, for ever; in an outage what was measured last stands."""
        while True:
            await asyncio.sleep(MEASURE_SECONDS)
            try:
                await self.measure()
            except Reject:
                continue
