"""Hands the log over to consumers: one process does it, for each consumer at its own pace, again until it succeeds.

The leader (`log.leadership`) looks at the consumers' rows twice a second, which also keeps its session alive, and runs
a task for each consumer. All tasks share the leader's one connection, in turn; none holds it while a service works on a
batch. A consumer is moved only together with its row: the row names the last batch, so that a process that was
superseded, or an operator's command, is noticed when the position is stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from prometheus_client import Counter

from parley.chat.consumers import store
from parley.chat.consumers.pace import SCAN, Pace, next_scan
from parley.chat.consumers.pattern import matching
from parley.chat.consumers.recipients import OwnConsumer, ServiceConsumers
from parley.chat.consumers.store import StoredConsumer
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.log.database import DATABASE_ERRORS
from parley.chat.log.leadership import STANDBY_SECONDS, Leadership
from parley.chat.log.position import Position
from parley.chat.log.tail import ANNOUNCEMENTS, LAG, EventsPage, Tail
from parley.common.process.outage_log import OutageLog
from parley.common.wire.consumers import LogEvent
from parley.framework import Bus, Code, Reject, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "cannot hand over the log")

CONSUMED = Counter(
    "parley_chat_consumed_events_total", "Events that consumers have dealt with, or not", ["consumer", "outcome"]
)
WORK = "consumers"
INTERVAL = 0.4
"""Seconds between two looks at the consumers' rows; less than half of what Postgres lets a silent leader have."""
IDLE = 0.25
"""Seconds between two looks at the end of the log.

After a batch it is as long: one costs much the same however few events are in it, and where messages keep coming, each
would be handed over nearly by itself."""
IDLE_WHEN_BUSY = 0.5
"""The same while this process has much to commit (`BUSY`): half as many pages of the log are read."""
SAVE_SECONDS = 5.0
"""Seconds after which a consumer's position is stored although it wanted none of the events up to there."""
BUSY = 500.0
"""Commands per second that this process commits from which on consumers that may wait do so, so that a rush of messages
is not slowed down."""
OWN_PREFIX = "chat."
"""How the names of chat's own consumers begin. No service may take such a name."""


class _Consumer:
    """One consumer, while this process hands the log over to it."""

    def __init__(self, row: StoredConsumer, recipient: OwnConsumer | ServiceConsumers) -> None:
        self.row = row
        self.recipient = recipient
        self.kinds = matching(row.events)
        self.position: Position = row.position
        self.pace = Pace(recipient.most)
        self.tail = Tail()
        self.scan = SCAN
        self.saved_at = time.monotonic()
        self.waits_since: float | None = None
        """Since when it has been kept waiting for a quiet moment; until it has caught up, even if that came."""
        self.task: asyncio.Task[None] | None = None


class ConsumerRunner:
    """Hands the log over to the consumers while this process leads."""

    def __init__(
        self, bus: Bus, url: str, own: Mapping[str, OwnConsumer] | None = None, committed: Callable[[], int] = int
    ) -> None:
        self._bus = bus
        self._own = own or {}
        self._services = ServiceConsumers(bus)
        self._committed = committed
        """Returns how many commands this process has committed since it started."""
        self._looked = (0.0, 0)
        self._busy = False
        self._leadership = Leadership(url, WORK)
        self._turn = asyncio.Lock()
        """Held for each statement, and while what is known of a consumer changes together with its row."""
        self._running: dict[str, _Consumer] = {}

    @property
    def leading(self) -> bool:
        """Whether this process is the one that hands over."""
        return self._leadership.leading

    def note(self) -> str:
        """Return which consumers fail, or `ok`. It is shown with the health of the service."""
        failing = [one for one in self._running.values() if one.pace.failures > 1]
        return "; ".join(f"{one.row.name} has failed {one.pace.failures} times" for one in failing) or "ok"

    async def run(self) -> None:
        """Hand over for ever."""
        try:
            while True:
                pause = INTERVAL
                try:
                    pause = await self.step()
                except DATABASE_ERRORS as error:
                    outages.note(error)
                    await self._step_down()
                except Exception:
                    log.exception("cannot hand over the log")
                    await self._step_down()
                await asyncio.sleep(pause)
        finally:
            await self._step_down()

    async def step(self) -> float:
        """Look at the consumers' rows, or stand by. Returns the seconds to wait. Raises what Postgres raises."""
        self._look_at_load()
        if not self._bus.hearing:
            await self._step_down()
            return INTERVAL
        async with self._turn:
            if not await self._leadership.lead():
                return STANDBY_SECONDS
            rows = await store.load(connection := await self._leadership.connection())
            # Looked at each time, since an operator may have removed one, or a backup without it was restored.
            known = {row.name: row.events for row in rows}
            for name, own in self._own.items():
                if known.get(name) != own.events:
                    await store.register(connection, name, own.events, beginning=own.beginning)
            if outdated := [row.name for row in rows if self._outdated(row.name)]:
                await store.forget(connection, outdated)
            # There is no `await` from here to the end of the block, so no task sees half of it.
            gone = [one for name, one in self._running.items() if name not in {row.name for row in rows}]
            gone += [one for row in rows if (one := self._running.get(row.name)) and _place_changed(one.row, row)]
            for one in gone:
                self._stop(one)
            for row in rows:
                if (one := self._running.get(row.name)) is None:
                    one = self._running[row.name] = _Consumer(row, self._own.get(row.name, self._services))
                    one.task = asyncio.create_task(self._hand_over(one), name=f"consumer {row.name}")
                one.row = row
        return INTERVAL

    async def _hand_over(self, one: _Consumer) -> None:
        while True:
            try:
                pause = await self._next(one)
            except DATABASE_ERRORS as error:
                outages.note(error, consumer=one.row.name)
                pause = INTERVAL  # whether this process still leads shows at the next look at the rows
            except Exception:
                log.exception("cannot hand over the log", consumer=one.row.name)
                pause = one.pace.failed()
            await asyncio.sleep(pause)

    async def _next(self, one: _Consumer) -> float:
        """Hand over the next events to a consumer. Returns the seconds to wait."""
        name = one.row.name
        if one.row.paused or self._has_to_wait(one):
            return INTERVAL
        async with self._turn:
            if not self._leadership.leading:
                return INTERVAL
            connection = await self._leadership.connection()
            page = await one.tail.events(
                connection, one.position, one.kinds, most=one.pace.most, scan=one.scan, wanted=one.recipient.wanted
            )
        one.scan = next_scan(one.scan, one.pace.most, len(page.events), cut=page.cut)
        # An event that was erased before it was handed over has nothing left to process.
        events = [event for event in page.events if event.event_id != one.row.skip and not event.erased]
        if not page.more:
            one.waits_since = None
        if not page.events:
            LAG.labels(name).set(0)
            one.position = page.position
            if time.monotonic() - one.saved_at > SAVE_SECONDS:
                await self._save(one, page)
            return 0.0 if page.more else self._idle
        LAG.labels(name).set(max(0.0, time.time() - min(event.recorded_at for event in page.events).timestamp()))
        if events:
            try:
                await one.recipient.hand(name, [_log_event(event) for event in events])
            except Reject as rejection:
                return await self._failed(one, events, rejection)
            except DATABASE_ERRORS:
                one.pace.shorten()
                raise
        CONSUMED.labels(name, "done").inc(len(events))
        if failures := one.pace.failures:
            log.info("the consumer goes on", consumer=name, failures=failures)
        one.pace.succeeded()
        await self._save(one, page)
        return 0.0 if page.more else self._idle

    @property
    def _idle(self) -> float:
        return IDLE_WHEN_BUSY if self._busy else IDLE

    def _look_at_load(self) -> None:
        (before, committed), now, total = self._looked, time.monotonic(), self._committed()
        self._busy = total - committed > BUSY * (now - before)
        self._looked = now, total

    def _has_to_wait(self, one: _Consumer) -> bool:
        """Return whether a consumer has to wait until there is less to commit. It never waits longer than it may."""
        if not self._busy or not one.recipient.may_wait:
            return False
        if one.waits_since is None:
            one.waits_since = time.monotonic()
        return time.monotonic() - one.waits_since < one.recipient.may_wait

    def _outdated(self, name: str) -> bool:
        return name not in self._own and any(own.before and name.startswith(own.before) for own in self._own.values())

    async def _failed(self, one: _Consumer, events: list[Recorded], rejection: Reject) -> float:
        name, first = one.row.name, events[0]
        CONSUMED.labels(name, str(rejection.code)).inc(len(events))
        if rejection.code is Code.UNAVAILABLE:
            return one.pace.away()
        pause = one.pace.failed()
        log.warning(
            "a consumer fails, trying again", consumer=name, code=str(rejection.code), error=rejection.message,
            attempts=one.pace.failures, events=len(events), first_event=str(first.event_id), room=first.room,
            sequence=first.sequence, pause=pause,
        )  # fmt: skip
        async with self._turn:
            connection = await self._leadership.connection()
            told = f"{rejection.code}: {rejection.message}"
            await store.note_failure(connection, one.row, told, one.pace.failures, first.event_id)
        return pause

    async def _save(self, one: _Consumer, page: EventsPage) -> None:
        batch = uuid4().hex
        async with self._turn:
            connection = await self._leadership.connection()
            if await store.save(connection, one.row, page.position, batch, page.events):
                one.position, one.saved_at = page.position, time.monotonic()
                one.row = one.row._replace(batch=batch, position=page.position)

    def _stop(self, one: _Consumer) -> None:
        if one.task is not None:
            one.task.cancel()
        with suppress(KeyError):
            LAG.remove(one.row.name)
        self._running.pop(one.row.name, None)

    async def _step_down(self) -> None:
        # The tasks are waited for, so that none uses the connection after it is closed.
        tasks = [one.task for one in self._running.values() if one.task is not None]
        for one in list(self._running.values()):
            self._stop(one)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._leadership.step_down()


def _place_changed(before: StoredConsumer, after: StoredConsumer) -> bool:
    """Return whether somebody else has moved a consumer, or changed which events it wants."""
    return (before.batch, before.events) != (after.batch, after.events)


def _log_event(event: Recorded) -> LogEvent:
    return LogEvent(
        str(event.event_id), event.type, event.room, event.sequence, event.recorded_at, event.actor_id,
        event.actor_name, event.data, event.command_id,
    )  # fmt: skip


async def answer_registration(pool: Any, name: str, events: str, *, beginning: bool) -> None:
    """Register a consumer.

    Raises `Reject` for a name that is not allowed, and for a pattern that matches no type of event.
    """
    if not name or len(name) > 100 or name == ANNOUNCEMENTS or name.startswith(OWN_PREFIX):
        raise Reject(Code.INVALID_PAYLOAD, f"A consumer cannot have the name {name!r}.")
    if not matching(events):
        raise Reject(Code.INVALID_PAYLOAD, f"No type of event matches {events!r}.")
    async with pool.acquire() as connection:
        await store.register(connection, name, events, beginning=beginning)
