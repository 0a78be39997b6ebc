"""Group commit: what waits is committed together; meanwhile the batch before it is told, and the next one gathers.

So that Postgres, this process and the gateways work at the same time, a batch is no larger than it takes to keep them
busy: as many commands as are decided and told while one is committed.

A batch goes two ways. Messages that are allowed by what is known of their rooms are appended by one statement, the
short way. Everything else, and what that statement did not take, is decided under the rooms' locks, the long way.

One writer per process keeps a connection's commands in the order they were submitted; many processes may write to the
same room, because the room row's lock orders them. The commands of a room that another process holds on to wait aside,
and only they: the order among rooms is given up for them, the order within each is not.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, overload

import asyncpg
from prometheus_client import Counter, Histogram

from parley.chat.domain.batch import Accepted, BatchDecision, Loaded, Submission, decide_batch
from parley.chat.domain.draft import Drafts, candidates, draft, settle
from parley.chat.domain.room import RoomCommand
from parley.chat.domain.room_ids import LogSecret
from parley.chat.domain.state import UserLimits
from parley.chat.log import event_store
from parley.chat.log.database import note_outage, unavailable
from parley.chat.log.known_rooms import KnownRooms
from parley.chat.log.own_connection import CONFLICTS, OwnConnection, is_own_fault
from parley.chat.settings import Settings
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger
from parley.common.wire.identity import Identity

log = get_logger(__name__)

BATCH_SIZE = Histogram("parley_chat_batch_commands", "Commands per transaction", buckets=(1, 2, 5, 10, 50, 100, 500))
COMMIT_SECONDS = Histogram("parley_chat_commit_seconds", "Time from taking a batch to its commit")
COMMANDS = Counter("parley_chat_commands_total", "Decided commands", ["outcome"])
COMMANDS_BY_WAY = Counter("parley_chat_commands_by_way_total", "Commands committed, by the way they took", ["way"])

ATTEMPTS = 5
"""Times a batch is tried again after it met another one."""
PAUSE_SECONDS = 0.005
"""The first pause between two attempts at most; each further one is twice as long."""
ASIDE_SECONDS = 10.0
"""How long commands wait for a room that another process holds on to, before they are told `unavailable`."""
ASIDE_INTERVAL = 0.02
"""Seconds between two looks whether such a room is free."""
WARY_SECONDS = 5.0
"""After a lock was waited for in vain, no lock is waited for: who held one room may hold many."""
STUCK_SECONDS = 3.0
"""A batch that takes longer makes the service unready."""
SMALL_BATCH = 32
"""Commands that are always committed together: from here on a larger batch makes each hardly cheaper."""
COMMAND_SECONDS = 40e-6
"""What deciding and telling a command takes this process, on a slow machine less than it is; see `_batch_size`."""
LATE_SECONDS = 1.0
"""What was decided longer ago is not published: erasures may have been asked for since, which only a reader knows."""
STOP_SECONDS = 8.0
"""A service that stops waits for the batch in hand; Postgres has answered within this, or never will."""

Publish = Callable[[BatchDecision], Awaitable[None]]
AnswerT = TypeVar("AnswerT")
Answer = Callable[[Accepted], AnswerT]
"""Makes of an accepted command what its sender is told."""


class _Waiting:
    """A submission and who waits for the answer to it; `until` bounds how long it waits aside."""

    __slots__ = ("answer", "decided", "settled", "submission", "until")

    def __init__(self, submission: Submission, decided: asyncio.Future[Any], answer: Answer[Any]) -> None:
        self.submission = submission
        self.decided = decided
        self.answer = answer
        self.settled = False
        self.until = 0.0


class Writer:
    """Takes submissions, commits them in batches, publishes, and then answers each with its outcome."""

    def __init__(self, publish: Publish, settings: Settings) -> None:
        self._publish = publish
        self._settings = settings
        again = timedelta(seconds=settings.chat_invite_again_seconds)
        self._limits = UserLimits(settings.chat_max_rooms, settings.chat_max_invitations, again)
        self._connection = OwnConnection(settings.database_dsn)
        self._known = KnownRooms()
        self._forget = False
        self._secret = LogSecret(b"")
        self._waiting: deque[_Waiting] = deque()
        self._in_hand_of: dict[str, int] = {}
        """How many commands of each user are not settled yet: one may not take all the places there are."""
        self._aside: list[_Waiting] = []
        self._aside_rooms: set[int] = set()
        self._aside_at = 0.0
        self._wary_until = 0.0
        self._wake = asyncio.Event()
        self._stopping = False
        self._began: float | None = None
        self._commit_seconds = 0.0
        """How long the last batch was with Postgres."""
        self._telling: asyncio.Task[None] | None = None
        """Tells of the batch before the one in hand."""

    async def connect(self) -> None:
        """Connect to Postgres, so that commands can be taken. Raises what asyncpg does."""
        await self._connected()

    def forget_rooms(self) -> None:
        """Read rooms again before deciding by them: they were mended, or the log is another one."""
        self._forget = True

    def check(self) -> str | None:
        """What keeps commands from being committed, or None: Postgres has the batch in hand for too long."""
        waited = 0.0 if self._began is None else time.monotonic() - self._began
        return f"Postgres: a batch has waited for {waited:.0f} s" if waited > STUCK_SECONDS else None

    @overload
    def submit(self, command: RoomCommand, identity: Identity, correlation: str) -> asyncio.Future[Accepted]: ...
    @overload
    def submit(
        self, command: RoomCommand, identity: Identity, correlation: str, answer: Answer[AnswerT]
    ) -> asyncio.Future[AnswerT]: ...
    def submit(
        self,
        command: RoomCommand,
        identity: Identity,
        correlation: str,
        answer: Answer[Any] = lambda accepted: accepted,
    ) -> asyncio.Future[Any]:
        """Have a command decided and its events committed; it has its place in the order when this returns.

        The future ends after the commit, with the answer made of what became of the command, or with a `Reject` for
        one that is refused. Raises `Reject` for one that can be refused at once.
        """
        command.validate(self._settings.chat_max_body)
        if self._stopping:
            raise unavailable()
        if len(self._waiting) + len(self._aside) >= self._settings.chat_max_waiting:
            raise Reject(Code.OVERLOADED)
        of_user = self._in_hand_of.get(identity.user_id, 0)
        if of_user >= self._settings.chat_max_waiting_per_user:
            raise Reject(Code.OVERLOADED, "Too many of your commands wait; try again.")
        submission = Submission(command, identity, correlation, self._secret)
        self._in_hand_of[identity.user_id] = of_user + 1
        decided: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(submission, decided, answer))
        self._wake.set()
        return decided

    async def run(self) -> None:
        """Commit batch after batch until cancelled; then the batch in hand is still committed and announced."""
        work = asyncio.create_task(self._commit_batches(), name="commit batches")
        try:
            await asyncio.shield(work)
        finally:
            self._stopping = True
            self._wake.set()
            await asyncio.wait({work}, timeout=STOP_SECONDS)
            work.cancel()
            for waiting in (*self._aside, *self._waiting):
                self._refuse(waiting, unavailable())
            self._connection.abandon()

    async def _commit_batches(self) -> None:
        while not self._stopping:
            if not self._waiting:
                await self._wait()
            self._wake.clear()
            if batch := self._take():
                self._began = time.monotonic()
                try:
                    await self._write(batch)
                except Exception:
                    # Of our own making. Whether the commit happened is unknown; the same ids, sent again, find out.
                    log.exception("batch failed", commands=len(batch))
                    for waiting in batch:
                        self._refuse(waiting, Reject(Code.INTERNAL))
                self._began = None
            if self._aside and time.monotonic() >= self._aside_at:
                await self._write_aside()
        await self._told()

    async def _wait(self) -> None:
        """Until something is submitted, or it is time to look after what waits aside."""
        if not self._aside:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, self._aside_at - time.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _take(self) -> list[_Waiting]:
        """The next batch. What is for a room that others wait for joins them."""
        batch: list[_Waiting] = []
        size = self._batch_size
        while self._waiting and len(batch) < size:
            waiting = self._waiting.popleft()
            if waiting.submission.room_id in self._aside_rooms:
                self._put_aside(waiting)
            else:
                batch.append(waiting)
        return batch

    @property
    def _batch_size(self) -> int:
        """On a fast disk a few, so that no hop waits for all that is under way; on a slow one whatever its flush takes.

        All commands that are under way would else travel together, and while one process has them the others idle.
        """
        return min(self._settings.chat_batch, max(SMALL_BATCH, int(self._commit_seconds / COMMAND_SECONDS)))

    def _put_aside(self, waiting: _Waiting) -> None:
        waiting.until = waiting.until or time.monotonic() + ASIDE_SECONDS
        self._aside_rooms.add(waiting.submission.room_id)
        self._aside.append(waiting)

    def _not_behind(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Those of whose rooms nothing waits aside. The others join it, even where the room is free by now."""
        rooms = {waiting.submission.room_id for waiting in self._aside}
        for waiting in batch:
            if waiting.submission.room_id in rooms:
                self._put_aside(waiting)
        return [waiting for waiting in batch if waiting.submission.room_id not in rooms]

    async def _write_aside(self) -> None:
        """Try again what waits aside, without waiting for a lock."""
        tried, self._aside = self._aside, []
        size = self._settings.chat_batch
        try:
            for start in range(0, len(tried), size):
                # What is not free is put aside again, in order.
                await self._write_long(tried[start : start + size], wait=False)
        except Exception:
            # Of our own making, as with any batch; it may not end the process, nor leave anybody without an answer.
            log.exception("batch failed", commands=len(tried))
            for waiting in tried:
                self._refuse(waiting, Reject(Code.INTERNAL))
            self._aside.clear()
        now = time.monotonic()
        for waiting in self._aside:
            if waiting.until <= now:
                self._refuse(waiting, unavailable())
        self._aside = [waiting for waiting in self._aside if waiting.until > now]
        self._aside_rooms = {waiting.submission.room_id for waiting in self._aside}
        self._aside_at = time.monotonic() + ASIDE_INTERVAL

    async def _write(self, batch: list[_Waiting]) -> None:
        began = time.monotonic()
        try:
            with COMMIT_SECONDS.time():
                decided, places, rest = await self._append([waiting.submission for waiting in batch])
        except Exception as error:  # noqa: BLE001 - told apart by what Postgres says
            if isinstance(error, asyncpg.LockNotAvailableError):
                self._wary_until = time.monotonic() + WARY_SECONDS
            elif not isinstance(error, CONFLICTS) and not is_own_fault(error):
                self._give_up(batch, error)
                return
            # Nothing of the statement happened. Under the locks it turns out which command is at fault, if any is.
            log.debug("not appended at once", error=str(error) or type(error).__name__, commands=len(batch))
            rest = list(range(len(batch)))
        else:
            if places:
                COMMANDS_BY_WAY.labels("short").inc(len(places))
                await self._finish_beside([batch[place] for place in places], decided, began)
        if rest:
            await self._write_long([batch[place] for place in rest], wait=not self._wary)

    @property
    def _wary(self) -> bool:
        return time.monotonic() < self._wary_until

    async def _append(self, submissions: list[Submission]) -> tuple[BatchDecision, list[int], list[int]]:
        """Append what is allowed by what is known; the places of these commands in the batch, and of the rest."""
        connection = await self._connected()
        eligible = candidates(submissions)
        unknown = {
            (submission.room_id, submission.identity.user_id): None
            for submission, may in zip(submissions, eligible, strict=True)
            if may and self._known.find(submission.room_id, submission.identity.user_id) is None
        }
        if unknown:
            for room in await event_store.recall(connection, list(unknown)):
                self._known.learn(room, room.changed)
        drafts = draft(submissions, eligible, self._known.find)
        if not drafts.rooms:
            return BatchDecision(), [], drafts.rest
        taken = await self._append_drafts(connection, drafts)
        stale = [room_id for room_id in drafts.rooms if room_id not in taken.heads]
        self._known.forget(stale)
        drafts.leave_to_rest(stale)
        for room_id, (_, waiting) in drafts.rooms.items():
            self._known.advance(room_id, taken.heads[room_id][0] + len(waiting))
        decided, places = settle(drafts, taken.heads, taken.now)
        return decided, places, sorted(drafts.rest)

    async def _append_drafts(self, connection: Any, drafts: Drafts) -> event_store.Taken:
        attempt = 1
        while True:
            began = time.monotonic()
            try:
                taken = await event_store.append(connection, drafts, wait=not self._wary)
                self._commit_seconds = time.monotonic() - began
            except asyncpg.UniqueViolationError:
                # Another process appends the same command at this moment. A new statement finds it.
                if attempt == ATTEMPTS:
                    raise
                attempt += 1
                continue
            if not taken.resent:
                return taken
            drafts.leave_resent(taken.resent)
            if not drafts.rooms:
                return taken

    async def _write_long(self, batch: list[_Waiting], *, wait: bool) -> None:
        if self._aside and not (batch := self._not_behind(batch)):
            return
        began = time.monotonic()
        try:
            with COMMIT_SECONDS.time():
                decided, done = await self._transact(batch, wait=wait)
        except Exception as error:
            if not is_own_fault(error):
                self._give_up(batch, error)
            elif len(batch) == 1:
                log.warning("command failed", correlation=batch[0].submission.correlation, exc_info=error)
                self._refuse(batch[0], Reject(Code.INTERNAL))
            else:
                # One of them cannot be stored: halve until it fails alone, so that its neighbours do not.
                half = len(batch) // 2
                await self._write_long(batch[:half], wait=wait)
                await self._write_long(batch[half:], wait=wait)
            return
        COMMANDS_BY_WAY.labels("long").inc(len(done))
        await self._finish(done, decided, began)

    async def _transact(self, batch: list[_Waiting], *, wait: bool) -> tuple[BatchDecision, list[_Waiting]]:
        """Decide and commit; the commands it was done for. The others wait aside."""
        attempt = 1
        while True:
            try:
                return await self._try(batch, wait=wait)
            except asyncpg.LockNotAvailableError:
                if not wait:
                    raise
                self._wary_until = time.monotonic() + WARY_SECONDS
                wait = False
            except CONFLICTS:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS * 2**attempt))  # noqa: S311 - no secret
                attempt += 1

    async def _try(self, batch: list[_Waiting], *, wait: bool) -> tuple[BatchDecision, list[_Waiting]]:
        connection = await self._connected()
        async with connection.transaction(isolation="read_committed"):
            locked = await event_store.lock_rooms(connection, [one.submission for one in batch], wait=wait)
            done = [one for one in batch if one.submission.room_id not in locked.away]
            loaded = await event_store.load(connection, [one.submission for one in done], locked.rooms)
            since = {room.room_id: room.changed for room in loaded.rooms.values()}
            decided = decide_batch([one.submission for one in done], loaded, self._limits)
            if decided.stores:
                await event_store.save(connection, decided, loaded.rooms)
        for one in batch:
            if one.submission.room_id in locked.away:
                self._put_aside(one)
        self._learn(loaded, since, decided)
        return decided, done

    def _learn(self, loaded: Loaded, since: dict[int, int], decided: BatchDecision) -> None:
        gone: defaultdict[int, list[str]] = defaultdict(list)
        for room_id, user_id in decided.members:
            if user_id not in loaded.rooms[room_id].members:
                gone[room_id].append(user_id)
        for room in loaded.rooms.values():
            self._known.learn(room, since.get(room.room_id, 0), gone[room.room_id])

    async def _connected(self) -> Any:
        """The writer's connection. With another one begins another knowledge: it may lead to another Postgres."""
        connection, fresh = await self._connection.get()
        if fresh or self._forget:
            self._forget = False
            self._known.clear()
            try:
                self._secret = LogSecret(await event_store.read_secret(connection))
            except BaseException:
                # Without the log's secret this connection is of no use, and the next one asks again.
                self._connection.abandon()
                raise
        return connection

    def _give_up(self, batch: list[_Waiting], error: Exception) -> None:
        # Whether the commit happened is unknown; the same id, sent again, finds out.
        note_outage(error, commands=len(batch))
        self._connection.abandon()
        for waiting in batch:
            self._refuse(waiting, unavailable())

    async def _finish_beside(self, batch: list[_Waiting], decided: BatchDecision, began: float) -> None:
        """Announce and answer; where another batch waits, while Postgres has that one."""
        if self._waiting:
            await self._told()
            self._telling = asyncio.create_task(self._tell(batch, decided, began), name="tell of a batch")
        else:
            await self._finish(batch, decided, began)

    async def _told(self) -> None:
        """Wait until the batch before has been told of: gateways hear of batches one after the other."""
        if (telling := self._telling) is not None:
            self._telling = None
            await telling

    async def _finish(self, batch: list[_Waiting], decided: BatchDecision, began: float) -> None:
        """Announce what was committed, and answer."""
        await self._told()
        await self._tell(batch, decided, began)

    async def _tell(self, batch: list[_Waiting], decided: BatchDecision, began: float) -> None:
        if batch:
            BATCH_SIZE.observe(len(batch))
        if decided.announces and time.monotonic() - began < LATE_SECONDS:
            # Else this process stood still, or Postgres did, and it is the announcer that tells.
            try:
                await self._publish(decided)
            except Exception as error:
                # Committed is committed, whatever goes wrong now: what is in the log is announced again.
                log.warning("committed but not published", events=len(decided.appended), exc_info=error)
        accepted = 0
        for waiting, outcome in zip(batch, decided.outcomes, strict=True):
            if isinstance(outcome, Reject):
                self._refuse(waiting, outcome)
            elif self._settles(waiting):
                accepted += 1
                _answer(waiting, outcome)
        COMMANDS.labels("accepted").inc(accepted)

    def _refuse(self, waiting: _Waiting, rejection: Reject) -> None:
        if self._settles(waiting):
            COMMANDS.labels(str(rejection.code)).inc()
            waiting.decided.set_exception(rejection)

    def _settles(self, waiting: _Waiting) -> bool:
        """Take a command out of its user's count, the first time; whether somebody still waits for the answer."""
        if waiting.settled:
            return False
        waiting.settled = True
        user_id = waiting.submission.identity.user_id
        if left := self._in_hand_of[user_id] - 1:
            self._in_hand_of[user_id] = left
        else:
            del self._in_hand_of[user_id]
        return not waiting.decided.done()


def _answer(waiting: _Waiting, accepted: Accepted) -> None:
    try:
        waiting.decided.set_result(waiting.answer(accepted))
    except Exception:
        # Of our own making, and of this command alone: it is committed, and its sender may ask again.
        log.exception("no answer to a command", correlation=waiting.submission.correlation)
        waiting.decided.set_exception(Reject(Code.INTERNAL))
