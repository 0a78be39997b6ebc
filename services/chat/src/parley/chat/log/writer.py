"""Group commit: the commands that wait are committed together, while the batch before is published.

A batch goes one of two ways. The short way appends messages that are allowed by what the writer knows of their rooms,
in one statement. The long way decides everything else, and whatever that statement did not take, under the rooms'
locks.

    | a command is | from                                  | until                                               |
    |--------------|---------------------------------------|-----------------------------------------------------|
    | held         | `submit`, if its text is screened     | it was, and so were its user's earlier ones         |
    | waiting      | `submit`                              | `_take` has room for it in a batch                  |
    | in hand      | `_take`                               | Postgres has answered                               |
    | aside        | its room is locked by another process | its room is free, or `ASIDE_SECONDS` have passed    |
    | settled      | its sender was answered               |                                                     |

All of it runs in one task, `run`; the task `_telling` publishes and answers the batch before. One writer per process
keeps a connection's commands in the order they were submitted. Many processes write to the same room, ordered by the
lock of its row. The commands of a room that another process has locked wait aside, and only they: the order among rooms
is given up for them, the order within each room is not.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar, overload

import asyncpg
from prometheus_client import Counter, Histogram

from parley.chat.domain.batch import decide_batch
from parley.chat.domain.batch_state import Accepted, BatchDecision, LoadedState, Submission
from parley.chat.domain.draft import Drafts, candidates, decision_of, draft
from parley.chat.domain.encoding.room_ids import LogSecret
from parley.chat.domain.room import ChatCommand
from parley.chat.domain.state import Screened, UserLimits
from parley.chat.log import event_store
from parley.chat.log.database import note_outage, unavailable
from parley.chat.log.held import HeldCommands, Screen
from parley.chat.log.known_rooms import KnownRooms
from parley.chat.log.own_connection import CONFLICTS, OwnConnection, is_own_fault
from parley.chat.settings import ChatSettings
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger
from parley.common.wire.identity import Identity

log = get_logger(__name__)

BATCH_SIZE = Histogram("parley_chat_batch_commands", "Commands per transaction", buckets=(1, 2, 5, 10, 50, 100, 500))
COMMIT_SECONDS = Histogram("parley_chat_commit_seconds", "Time from taking a batch to its commit")
COMMANDS = Counter("parley_chat_commands_total", "Decided commands", ["outcome"])
COMMANDS_BY_WAY = Counter("parley_chat_commands_by_way_total", "Commands committed, by the way they took", ["way"])

ATTEMPTS = 5
"""How often a batch is tried when it meets another one."""
PAUSE_SECONDS = 0.005
"""The longest first pause between two attempts. Each further one is twice as long."""
ASIDE_SECONDS = 10.0
"""Seconds that commands wait for a room that another process has locked, before they are refused with `unavailable`."""
ASIDE_INTERVAL = 0.02
"""Seconds between two looks whether such a room is free."""
WARY_SECONDS = 5.0
"""Seconds without waiting for any lock, after waiting for one took too long: its holder may have locked many rooms."""
STUCK_SECONDS = 3.0
"""Seconds after which a batch that Postgres has not answered makes the service unready."""
SMALL_BATCH = 32
"""Commands that are always committed together. A larger batch makes each of them hardly cheaper."""
COMMAND_SECONDS = 40e-6
"""Seconds that deciding and publishing a command takes this process; a slow machine takes more (see `_batch_size`)."""
LATE_SECONDS = 1.0
"""Seconds after which a decided batch is not published any more. An erasure may have been requested since, of which
only a reader of the log knows."""
STOP_SECONDS = 8.0
"""Seconds that a stopping service waits for the batch in hand. Postgres answers within this time, or never."""

Publish = Callable[[BatchDecision], Awaitable[None]]
AckT = TypeVar("AckT")
MakeAck = Callable[[Accepted], AckT]
"""Makes from an accepted command what its sender is answered."""


class _Waiting:
    """A command and the future of its answer. `until` bounds how long it waits aside; it is 0 before that."""

    __slots__ = ("decided", "make_ack", "settled", "submission", "until")

    def __init__(self, submission: Submission, decided: asyncio.Future[Any], make_ack: MakeAck[Any]) -> None:
        self.submission = submission
        self.decided = decided
        self.make_ack = make_ack
        self.settled = False
        self.until = 0.0


class Writer:
    """Takes commands, commits them in batches, publishes their events, and then answers each with its result."""

    def __init__(self, publish: Publish, settings: ChatSettings, screen: Screen | None = None) -> None:
        self._publish = publish
        self._settings = settings
        again = timedelta(seconds=settings.chat_invite_again_seconds)
        self._limits = UserLimits(settings.chat_max_rooms, settings.chat_max_invitations, again)
        self._connection = OwnConnection(settings.database_dsn)
        self._known = KnownRooms()
        self._forget = False
        self._secret = LogSecret(b"")
        self._screen = screen
        self._held = HeldCommands[_Waiting](self._release)
        self._waiting: deque[_Waiting] = deque()
        self._in_hand_of: dict[str, int] = {}
        """How many commands of each user are not settled yet, so that none takes all the places there are."""
        self._aside: list[_Waiting] = []
        self._aside_rooms: set[int] = set()
        self._aside_at = 0.0
        self._wary_until = 0.0
        self._wake = asyncio.Event()
        self._stopping = False
        self.committed = 0
        """How many commands were accepted since the process started."""
        self._began: float | None = None
        self._commit_seconds = 0.0
        """How long the last batch was with Postgres."""
        self._telling: asyncio.Task[None] | None = None
        """Publishes and answers the batch before the one in hand."""

    async def connect(self) -> None:
        """Connect to Postgres, so that commands can be taken. Raises what asyncpg raises."""
        await self._connected()

    def forget_rooms(self) -> None:
        """Read rooms again before deciding by them, because they were corrected, or the log is another one."""
        self._forget = True

    def check(self) -> str | None:
        """Return what keeps commands from being committed, or None.

        Postgres may have had the batch in hand for too long.
        """
        waited = 0.0 if self._began is None else time.monotonic() - self._began
        return f"Postgres: a batch has waited for {waited:.0f} s" if waited > STUCK_SECONDS else None

    @overload
    def submit(self, command: ChatCommand, identity: Identity, correlation: str) -> asyncio.Future[Accepted]: ...
    @overload
    def submit(
        self, command: ChatCommand, identity: Identity, correlation: str, make_ack: MakeAck[AckT]
    ) -> asyncio.Future[AckT]: ...
    def submit(
        self,
        command: ChatCommand,
        identity: Identity,
        correlation: str,
        make_ack: MakeAck[Any] = lambda accepted: accepted,
    ) -> asyncio.Future[Any]:
        """Have a command decided and its events committed. Its place in the order is taken when this returns.

        The future ends after the commit: with what `make_ack` makes of the result, or with a `Reject` if the command is
        refused. Raises `Reject` for a command that can be refused at once.
        """
        command.validate(self._settings.chat_max_body)
        if self._stopping:
            raise unavailable()
        # A full queue is refused at once: whoever waited longer than a client's patience would only be sent again.
        if len(self._waiting) + len(self._aside) + len(self._held) >= self._settings.chat_max_waiting:
            raise Reject(Code.OVERLOADED)
        of_user = self._in_hand_of.get(identity.user_id, 0)
        if of_user >= self._settings.chat_max_waiting_per_user:
            raise Reject(Code.OVERLOADED, "Too many of your commands wait; try again.")
        submission = Submission(command, identity, correlation, self._secret)
        self._in_hand_of[identity.user_id] = of_user + 1
        decided: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(submission, decided, make_ack)
        screened = None if self._screen is None else self._screen(command, identity)
        if screened is not None or self._held.holds(identity.user_id):
            self._held.hold(identity.user_id, waiting, screened)
        else:
            self._waiting.append(waiting)
            self._wake.set()
        return decided

    def _release(self, waiting: _Waiting, screened: Screened | None) -> None:
        """Take a command whose text was screened, or which waited behind such a one."""
        waiting.submission.screened = screened
        if self._stopping:
            self._refuse(unavailable(), waiting)
            return
        self._waiting.append(waiting)
        self._wake.set()

    async def run(self) -> None:
        """Commit batch after batch until cancelled. Even then the batch in hand is committed and published."""
        work = asyncio.create_task(self._commit_batches(), name="commit batches")
        try:
            # The batch in hand is not cancelled with this task: nobody would learn whether it was committed.
            await asyncio.shield(work)
        finally:
            self._stopping = True
            self._wake.set()
            await asyncio.wait({work}, timeout=STOP_SECONDS)
            work.cancel()
            self._refuse(unavailable(), *self._aside, *self._waiting, *self._held.empty())
            self._connection.abandon()

    async def _commit_batches(self) -> None:
        while not self._stopping:
            if not self._waiting:
                await self._wait()
            # Before the batch is taken: a command that is submitted from here on sets it again.
            self._wake.clear()
            if batch := self._take():
                self._began = time.monotonic()
                try:
                    await self._write(batch)
                except Exception:
                    # A fault of our own. Whether the batch was committed is unknown; the same ids find out when they
                    # are sent again.
                    log.exception("batch failed", commands=len(batch))
                    self._refuse(Reject(Code.INTERNAL), *batch)
                self._began = None
            if self._aside and time.monotonic() >= self._aside_at:
                await self._write_aside()
        await self._wait_for_publishing()

    async def _wait(self) -> None:
        """Wait until a command is submitted, or until it is time to try what waits aside."""
        seconds = max(0.0, self._aside_at - time.monotonic()) if self._aside else None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _take(self) -> list[_Waiting]:
        """Return the next batch. A command for a room whose commands wait aside joins them instead."""
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
        """Return how many commands the next batch has at most: as many as this process handles during one commit.

        If all waiting commands travelled together, Postgres would idle while this process has them, and the other way
        round. So a batch is small on a fast disk, and on a slow one as large as its flush allows.
        """
        return min(self._settings.chat_batch, max(SMALL_BATCH, int(self._commit_seconds / COMMAND_SECONDS)))

    def _put_aside(self, waiting: _Waiting) -> None:
        waiting.until = waiting.until or time.monotonic() + ASIDE_SECONDS
        self._aside_rooms.add(waiting.submission.room_id)
        self._aside.append(waiting)

    def _not_behind(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Return the commands whose rooms have nothing aside.

        The others go aside too, even if their room is free by now.
        """
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
                # What is still locked is put aside again, in the same order.
                await self._write_long(tried[start : start + size], wait=False)
        except Exception:
            # A fault of our own, as with any batch. It must neither end the process nor leave a sender without an
            # answer.
            log.exception("batch failed", commands=len(tried))
            self._refuse(Reject(Code.INTERNAL), *tried)
            self._aside.clear()
        now = time.monotonic()
        self._refuse(unavailable(), *(waiting for waiting in self._aside if waiting.until <= now))
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
            # The statement did nothing. Under the locks it shows which command is at fault, if any is.
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
        """Append what is allowed by what is known.

        Return the decisions, the indexes of their commands, and those of the rest.
        """
        connection = await self._connected()
        eligible = candidates(submissions)
        drafts = draft(submissions, eligible, self._known.find)
        # It is read in one statement for all, as in a process that has just started. Of who is in no room there is
        # nothing to be learned, and nobody else's commands are decided once more because of them.
        if drafts.unknown and (rooms := await event_store.recall(connection, drafts.unknown)):
            for room in rooms:
                self._known.learn(room, room.changed)
            drafts = draft(submissions, eligible, self._known.find)
        if not drafts.rooms:
            return BatchDecision(), [], drafts.rest
        taken = await self._append_drafts(connection, drafts)
        stale = [room_id for room_id in drafts.rooms if room_id not in taken.heads]
        # The statement has left these out: another process changed them since they were read.
        self._known.forget(stale)
        drafts.leave_to_rest(stale)
        for room_id, (_, waiting) in drafts.rooms.items():
            self._known.advance(room_id, taken.heads[room_id][0] + len(waiting))
        decided, places = decision_of(drafts, taken.heads, taken.now)
        return decided, places, sorted(drafts.rest)

    async def _append_drafts(self, connection: Any, drafts: Drafts) -> event_store.AppendResult:
        attempt = 1
        while True:
            began = time.monotonic()
            try:
                taken = await event_store.append(connection, drafts, wait=not self._wary)
                self._commit_seconds = time.monotonic() - began
            except asyncpg.UniqueViolationError:
                # Another process appends the same command at this moment. A new statement finds it there.
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
                self._refuse(Reject(Code.INTERNAL), *batch)
            else:
                # One of them cannot be stored. Halving isolates it, so that it fails alone.
                half = len(batch) // 2
                await self._write_long(batch[:half], wait=wait)
                await self._write_long(batch[half:], wait=wait)
            return
        COMMANDS_BY_WAY.labels("long").inc(len(done))
        await self._wait_for_publishing()
        await self._tell(done, decided, began)

    async def _transact(self, batch: list[_Waiting], *, wait: bool) -> tuple[BatchDecision, list[_Waiting]]:
        """Decide and commit. Return the decisions and the commands that they are for; the others wait aside."""
        attempt = 1
        while True:
            try:
                return await self._try(batch, wait=wait)
            except asyncpg.LockNotAvailableError:
                if not wait:
                    raise
                # The rooms that are locked are put aside on the next attempt, and the others go ahead.
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
            # Noted here, because `decide_batch` moves the rooms on.
            changed_before = {room.room_id: room.changed for room in loaded.rooms.values()}
            decided = decide_batch([one.submission for one in done], loaded, self._limits)
            if decided.stores:
                await event_store.save(connection, decided, loaded.rooms)
        for one in batch:
            if one.submission.room_id in locked.away:
                self._put_aside(one)
        self._learn(loaded, changed_before, decided)
        return decided, done

    def _learn(self, loaded: LoadedState, changed_before: dict[int, int], decided: BatchDecision) -> None:
        gone: defaultdict[int, list[str]] = defaultdict(list)
        for room_id, user_id in decided.members:
            if user_id not in loaded.rooms[room_id].members:
                gone[room_id].append(user_id)
        for room in loaded.rooms.values():
            self._known.learn(room, changed_before.get(room.room_id, 0), gone[room.room_id], loaded.now)

    async def _connected(self) -> Any:
        """Return the writer's connection.

        With a new one, everything known of rooms is forgotten: it may be another Postgres.
        """
        connection, fresh = await self._connection.get()
        if fresh or self._forget:
            self._forget = False
            self._known.clear()
            try:
                self._secret = LogSecret(await event_store.read_secret(connection))
            except BaseException:
                # Without the log's secret the connection is of no use. The next attempt opens another one and asks
                # again.
                self._connection.abandon()
                raise
        return connection

    def _give_up(self, batch: list[_Waiting], error: Exception) -> None:
        # Whether the batch was committed is unknown. The same ids find out when they are sent again.
        note_outage(error, commands=len(batch))
        self._connection.abandon()
        self._refuse(unavailable(), *batch)

    async def _finish_beside(self, batch: list[_Waiting], decided: BatchDecision, began: float) -> None:
        """Publish and answer. If more commands wait, a task does it, so that Postgres has the next batch meanwhile."""
        await self._wait_for_publishing()
        if self._waiting:
            self._telling = asyncio.create_task(self._tell(batch, decided, began), name="tell of a batch")
        else:
            await self._tell(batch, decided, began)

    async def _wait_for_publishing(self) -> None:
        """Wait until the batch before was published and answered: gateways receive batches one after the other."""
        if (telling := self._telling) is not None:
            self._telling = None
            await telling

    async def _tell(self, batch: list[_Waiting], decided: BatchDecision, began: float) -> None:
        """Publish what was committed, and answer."""
        if batch:
            BATCH_SIZE.observe(len(batch))
        if decided.announces and time.monotonic() - began < LATE_SECONDS:
            # A later batch is left to the announcer: this process or Postgres stood still.
            try:
                await self._publish(decided)
            except Exception as error:
                # The events are committed, whatever fails now, and the announcer announces them.
                log.warning("committed but not published", events=len(decided.appended), exc_info=error)
        accepted = 0
        for waiting, outcome in zip(batch, decided.outcomes, strict=True):
            if isinstance(outcome, Reject):
                self._refuse(outcome, waiting)
            elif self._claim(waiting):
                accepted += 1
                _answer(waiting, outcome)
        self.committed += accepted
        COMMANDS.labels("accepted").inc(accepted)

    def _refuse(self, rejection: Reject, *refused: _Waiting) -> None:
        for waiting in refused:
            if self._claim(waiting):
                COMMANDS.labels(str(rejection.code)).inc()
                waiting.decided.set_exception(rejection)

    def _claim(self, waiting: _Waiting) -> bool:
        """Count a command as settled, once. Return whether its sender still waits for the answer."""
        if waiting.settled:
            return False
        waiting.settled = True
        user_id = waiting.submission.identity.user_id
        if left := self._in_hand_of[user_id] - 1:
            self._in_hand_of[user_id] = left
        else:
            del self._in_hand_of[user_id]
        # Done already means cancelled: the sender has given up waiting.
        return not waiting.decided.done()


def _answer(waiting: _Waiting, accepted: Accepted) -> None:
    try:
        waiting.decided.set_result(waiting.make_ack(accepted))
    except Exception:
        # A fault of our own, and for this command alone: it is committed, and its sender may send it again.
        log.exception("no answer to a command", correlation=waiting.submission.correlation)
        waiting.decided.set_exception(Reject(Code.INTERNAL))
