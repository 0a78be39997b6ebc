"""Group commit: everything that waits becomes one transaction, and while it commits the next one gathers.

One writer per process keeps a connection's commands in the order they were submitted; many processes may write to the
same room, because the room row's lock orders them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import Counter, Histogram

from parley.chat.domain.batch import Accepted, Outcome, Plan, Submission, plan
from parley.chat.domain.identifiers import LogSecret
from parley.chat.domain.room import RoomCommand
from parley.chat.domain.state import Limits
from parley.chat.log import event_store
from parley.chat.log.database import DATABASE_ERRORS, Pool, fault_of, note_outage, reachable, unavailable
from parley.chat.settings import Settings
from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.sqlstate import Fault
from parley.common.wire.identity import Identity

log = get_logger(__name__)

BATCH_SIZE = Histogram("parley_chat_batch_commands", "Commands per transaction", buckets=(1, 2, 5, 10, 50, 100, 500))
COMMIT_SECONDS = Histogram("parley_chat_commit_seconds", "Time from taking a batch to its commit")
COMMANDS = Counter("parley_chat_commands_total", "Decided commands", ["outcome"])

ATTEMPTS = 5
"""Times a batch is tried again after it met another one."""

Publish = Callable[[Plan], Awaitable[None]]


class Writer:
    """Takes submissions, commits them in batches, publishes, and then answers each with its outcome."""

    def __init__(self, pool: Pool, publish: Publish, settings: Settings) -> None:
        self._pool = pool
        self._publish = publish
        self._settings = settings
        self._waiting: deque[tuple[Submission, asyncio.Future[Accepted]]] = deque()
        self._wake = asyncio.Event()
        self._limits = Limits(settings.chat_max_rooms, settings.chat_max_invitations)
        self._secret: LogSecret | None = None

    async def submit(self, command: RoomCommand, identity: Identity, correlation: str) -> Accepted:
        """Have a command decided and its event committed. Raises `Reject`.

        Takes its place in the order before it first waits.
        """
        command.validate(self._settings.chat_max_body)
        if len(self._waiting) >= self._settings.chat_max_waiting:
            raise Reject(Code.OVERLOADED)
        if self._secret is None:
            with reachable():
                self._secret = LogSecret(await self._pool.fetchval("SELECT room_secret FROM chat.log"))
        decided: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((Submission(command, identity, correlation, self._secret), decided))
        self._wake.set()
        return await decided

    async def run(self) -> None:
        """Commit batch after batch, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                size = min(len(self._waiting), self._settings.chat_batch)
                batch = [self._waiting.popleft() for _ in range(size)]
                outcomes = await self._commit([submission for submission, _ in batch])
                for (_, decided), outcome in zip(batch, outcomes, strict=True):
                    _settle(decided, outcome)

    async def _commit(self, submissions: list[Submission]) -> list[Outcome]:
        try:
            with COMMIT_SECONDS.time():
                decided = await self._transact(submissions)
        except Exception as error:
            if isinstance(error, Reject):
                return [error for _ in submissions]
            if isinstance(error, DATABASE_ERRORS) and fault_of(error) is not Fault.STATEMENT:
                # Whether the commit happened is unknown; the same id, sent again, finds out.
                note_outage(error, commands=len(submissions))
                return [unavailable() for _ in submissions]
            if len(submissions) == 1:
                log.exception("command failed", correlation=submissions[0].correlation)
                return [Reject(Code.INTERNAL)]
            # One of them cannot be stored: halve until it fails alone, so that its neighbours do not.
            half = len(submissions) // 2
            return [*await self._commit(submissions[:half]), *await self._commit(submissions[half:])]
        BATCH_SIZE.observe(len(submissions))
        if decided.announces:
            await self._announce(decided)
        return decided.outcomes

    async def _transact(self, submissions: list[Submission]) -> Plan:
        attempt = 1
        while True:
            try:
                async with self._pool.acquire() as connection:
                    return await self._try(connection, submissions)
            except DATABASE_ERRORS as error:
                if attempt == ATTEMPTS or fault_of(error) is not Fault.CONFLICT:
                    raise
                attempt += 1

    async def _try(self, connection: Any, submissions: list[Submission]) -> Plan:
        async with connection.transaction():
            loaded = await event_store.load(connection, submissions)
            decided = plan(submissions, loaded, self._limits)
            if decided.stores:
                await event_store.save(connection, decided, loaded.rooms)
        return decided

    async def _announce(self, decided: Plan) -> None:
        try:
            await self._publish(decided)
        except Exception as error:
            # Committed is committed, whatever goes wrong now: gateways find what they missed through the beacon.
            log.warning("committed but not published", events=len(decided.appended), exc_info=error)


def _settle(decided: asyncio.Future[Accepted], outcome: Outcome) -> None:
    COMMANDS.labels("accepted" if isinstance(outcome, Accepted) else str(outcome.code)).inc()
    if decided.done():
        return
    if isinstance(outcome, Reject):
        decided.set_exception(outcome)
    else:
        decided.set_result(outcome)
