"""When erasures are executed: by one process at a time, once the ledger has them; and messages by their age.

Every chat process compares the ledger with the log whenever either has changed, and trusts neither. What only the log
has is written into the ledger. What only the ledger has is requested again, and hidden at once, since this log was
restored from an older backup; until all of that is erased, the service is not ready. `run` is one task.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from parley.chat.domain.erasure import Erasure, ErasureScope
from parley.chat.log.database import DATABASE_ERRORS, IDLE_SECONDS, LOCK_SECONDS, Pool, session_settings
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.erasure_statements import SESSION
from parley.chat.log.erasure.executor import Executor, Report
from parley.chat.log.erasure.ledger import Ledger, LedgerError
from parley.chat.log.own_connection import dial
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger
from parley.common.process.outage_log import OutageLog

log = get_logger(__name__)
outages = OutageLog(log, "erasures cannot be executed now")

INTERVAL = 0.5
"""Seconds between two looks for what has to be erased."""
PAUSE = 0.005
"""Seconds between two statements of an erasure that somebody requested."""
RETENTION_PAUSE = 0.05
"""Seconds between two statements of an erasure by age, for which nobody waits."""
RETENTION_SECONDS = 6 * 3600.0
"""Seconds between two looks for messages that are too old."""
EXECUTING = erasures.GATE + 1
"""The advisory lock of the process that executes."""

_STATE = """
SELECT incarnation::text, (SELECT count(*) FROM chat.erasures WHERE scope <> 'age') AS known,
  (SELECT count(*) FROM chat.erasures WHERE completed_at IS NULL) AS open,
  (SELECT count(*) FROM chat.erasures WHERE completed_at IS NULL AND repeated) AS repeated
FROM chat.log
"""
_TOO_OLD = "DELETE FROM chat.erasures WHERE scope = 'age' AND completed_at IS NOT NULL AND events = 0"


class _Compared(NamedTuple):
    """The state of log and ledger when they were last compared."""

    incarnation: str
    known: int
    file: tuple[int, int]


@asynccontextmanager
async def erasure_connection(url: str) -> AsyncGenerator[Any]:
    """Open a connection for an erasure.

    It is one more than a service has otherwise, and lives as long as the erasure.
    """
    settings = session_settings("parley-chat erasure", lock=LOCK_SECONDS, idle=IDLE_SECONDS) | SESSION
    connection = await dial(url, settings)
    try:
        yield connection
    finally:
        connection.terminate()


async def compare(connection: Any, ledger: Ledger) -> int:
    """Give ledger and log the same erasures. Returns how many only the ledger had. Raises `LedgerError`."""
    written = {one.id: one for one in await asyncio.to_thread(ledger.read)}
    known = {one.id: one for one in await erasures.asked_for(connection)}
    missing = [one for one in written.values() if one.id not in known]
    if missing:
        await erasures.repeat(connection, missing)
        log.warning("erasures of the ledger are executed again", count=len(missing), ledger=str(ledger.path))
    if unwritten := [one for one in known.values() if one.id not in written]:
        await asyncio.to_thread(ledger.append, unwritten)
    if unnoted := [one for one in known.values() if not one.noted]:
        await erasures.note(connection, unnoted)
    return len(missing)


async def execute_open(connection: Any, *, report: Report = lambda _: None) -> bool:
    """Execute the open erasures that the ledger has, the oldest first. Returns False if another process executes."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", EXECUTING):
        return False
    try:
        erased = False
        while found := [one for one in await erasures.open_erasures(connection) if one.noted]:
            # Erasures that somebody requested go first; nobody waits for those by age.
            found.sort(key=lambda one: one.scope is ErasureScope.AGE)
            by_age = found[0].scope is ErasureScope.AGE
            done = await Executor(connection, pause=RETENTION_PAUSE if by_age else PAUSE).run(found[0], report)
            log.info("erased", scope=str(done.scope), erasure=str(done.id), events=done.events)
            erased = erased or (done.events > 0 and not by_age)
        if erased:
            await _vacuum(connection)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", EXECUTING)
    return True


async def _vacuum(connection: Any) -> None:
    """Let Postgres remove the old versions of rows, which stay on its pages until then. This makes nobody wait."""
    try:
        await connection.execute("SET statement_timeout = 0")
        for table in ("events", "rooms", "members", "commands"):
            await connection.execute(f"VACUUM (TRUNCATE false, SKIP_LOCKED) chat.{table}", timeout=24 * 3600)
    except asyncpg.PostgresError as error:
        # The role may not own the tables. Autovacuum does it later.
        log.warning("erased, and not vacuumed", error=str(error))
    finally:
        await connection.execute("RESET statement_timeout")


class ErasureRunner:
    """Executes erasures as long as a chat service runs."""

    def __init__(self, url: str, pool: Pool, ledger: Ledger | None, keep_days: float) -> None:
        self._url = url
        self._pool = pool
        self._ledger = ledger
        self._keep = timedelta(days=keep_days)
        self._compared: _Compared | None = None
        self._problem: str | None = None
        # Processes that start together do not all look at the same moment.
        self._look_for_old_at = time.monotonic() + random.uniform(0, 60)  # noqa: S311 - no secret

    def check(self) -> str | None:
        """Return what keeps the service from being ready, or None.

        That is a ledger that cannot be read, or an erasure from before a restore that is not repeated yet.
        """
        return self._problem

    def require_ledger(self) -> None:
        """Refuse an erasure that a restore would undo unnoticed. Raises `Reject(unavailable)`."""
        if self._ledger is None:
            raise Reject(Code.UNAVAILABLE, "Nothing is erased without a ledger: set PARLEY_CHAT_ERASURE_LEDGER.")

    async def run(self) -> None:
        """Look for what has to be erased, and erase it, for ever."""
        while True:
            try:
                if await self.look():
                    async with erasure_connection(self._url) as connection:
                        await execute_open(connection)
            except (*DATABASE_ERRORS, Reject) as error:
                outages.note(error)
            except Exception:
                # Whatever it was, what has to be erased stays hidden, and commands are served.
                log.exception("erasure failed")
            await asyncio.sleep(INTERVAL)

    async def look(self) -> bool:
        """Compare log and ledger if either has changed, and request what is too old.

        Returns whether any erasure is open.
        """
        try:
            state = await self._look()
        except LedgerError as error:
            self._problem = str(error)
            state = await self._pool.fetchrow(_STATE)
        else:
            again: int = state["repeated"]
            self._problem = f"{again} erasures of the ledger are executed again" if again else None
        if self._keep and time.monotonic() >= self._look_for_old_at:
            self._look_for_old_at = time.monotonic() + RETENTION_SECONDS
            await self._ask_by_age()
            return True
        return bool(state["open"])

    async def _look(self) -> Any:
        state = await self._pool.fetchrow(_STATE)
        if self._ledger is not None:
            file = self._ledger.changed()
            seen = _Compared(state["incarnation"], state["known"], file)
            if seen != self._compared:
                async with self._pool.acquire() as connection:
                    await compare(connection, self._ledger)
                state = await self._pool.fetchrow(_STATE)
                # The state before the comparison is remembered, so what came meanwhile is found by the next look.
                unchanged = state["known"] == seen.known and self._ledger.changed() == file
                self._compared = seen if unchanged else None
        return state

    async def _ask_by_age(self) -> None:
        async with self._pool.acquire() as connection:
            await connection.execute(_TOO_OLD)
            if not any(one.scope is ErasureScope.AGE for one in await erasures.open_erasures(connection)):
                await erasures.request(connection, ErasureScope.AGE, before=datetime.now(UTC) - self._keep)


async def wait_until_completed(url: str, ledger: Ledger, erasure: Erasure, report: Report) -> Erasure:
    """Execute an erasure from outside of a service, or wait while a service executes it.

    Raises `LedgerError`, and what asyncpg raises.
    """
    async with erasure_connection(url) as connection:
        while True:
            await compare(connection, ledger)
            current = await erasures.find(connection, erasure.id)
            if current is None or current.completed_at is not None:
                return current or erasure
            if not await execute_open(connection, report=report):
                report(current)
                await asyncio.sleep(INTERVAL)
