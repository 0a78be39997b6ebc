"""Bugs to plant: what each takes out or gets wrong, the scenario that has to notice, and in how many of 1,000 seeds."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, NamedTuple

from parley.chat.domain.people.moderation import MemberMuted
from parley.chat.log import event_store, known_rooms, leadership, position, writer
from parley.chat.log.erasure import erasure_statements
from parley.chat.log.erasure import executor as erasure_executor
from parley.chat.log.messages import message_rows
from parley.chat.reading import read_cursors, read_store
from parley.framework.remote import room_publisher
from parley.gateway.admission.memberships import MembershipCheck
from parley.gateway.connections.connection import Connection
from parley.gateway.recovery import packet_history
from parley.gateway.rooms import announcement_log as announcements
from parley.gateway.rooms import cursor, fanout, local_room, member_state, membership_hints, memory
from tests.simulation import reads, stack, statements

Replaced = tuple[Any, str, Any]


class Bug(NamedTuple):
    """A bug. `within` are the seeds of its scenario in which `make test` finds it; 0 for one that takes too many."""

    name: str
    scenario: str
    what: str
    replaced: Iterable[Replaced]
    within: int


@contextmanager
def planted(bug: Bug) -> Generator[None]:
    """Put a bug in for a while."""
    before = [(owner, name, inspect.getattr_static(owner, name)) for owner, name, _ in bug.replaced]
    for owner, name, value in bug.replaced:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


# -- the log ---------------------------------------------------------------------------------------------------------


async def _announce_before_commit(self: Any, batch: Any, *, wait: bool) -> Any:
    connection = await self._connected()
    async with connection.transaction(isolation="read_committed"):
        locked = await event_store.lock_rooms(connection, [one.submission for one in batch], wait=wait)
        done = [one for one in batch if one.submission.room_id not in locked.away]
        loaded = await event_store.load(connection, [one.submission for one in done], locked.rooms)
        changed_before = {room.room_id: room.changed for room in loaded.rooms.values()}
        decided = writer.decide_batch([one.submission for one in done], loaded, self._limits)
        if decided.stores:
            await event_store.save(connection, decided, loaded.rooms)
        await self._publish(decided)
    for one in batch:
        if one.submission.room_id in locked.away:
            self._put_aside(one)
    self._learn(loaded, changed_before, decided)
    return decided, done


def _give_up_as_if_done(self: Any, batch: Any, error: Exception) -> None:
    self._connection.abandon()
    for waiting in batch:
        if self._claim(waiting):
            waiting.decided.set_result(writer.Accepted(None, waiting.submission, 1))


_load = event_store.load


async def _load_without_earlier(connection: Any, submissions: Any, rooms: Any) -> Any:
    loaded = await _load(connection, submissions, rooms)
    loaded.earlier.clear()
    return loaded


async def _load_without_erasing(connection: Any, submissions: Any, rooms: Any) -> Any:
    loaded = await _load(connection, submissions, rooms)
    loaded.erasing.clear()
    return loaded


async def _delete_no_texts(_connection: Any, _rooms: Any) -> None:
    return None


async def _go_on_before_it_is_done(self: Any, erasure: Any, report: Any) -> None:
    room_id = erasure_executor.FIRST_ROOM if erasure.at_room is None else erasure.at_room
    place = erasure_executor._Slice(room_id, erasure.at_sequence, erasure.at_sequence, last=False)
    while slices := await self._slices(erasure, place):
        place = slices[-1]
        await self._connection.execute(erasure_statements.MOVE, erasure.id, place.room_id, place.up_to)
        columns = zip(*[one[:3] for one in slices], strict=True)
        rows = await self._connection.fetch(erasure_statements.COVERED, erasure.id, *map(list, columns))
        found = [erasure_executor._recorded(row) for row in rows]
        for room in sorted({one.room_id for one in found}):
            await self._erase(erasure, room, [one for one in found if one.room_id == room])
            await asyncio.sleep(self._pause)


async def _end_no_memberships(_self: Any, _erasure: Any, _user_id: str) -> None:
    return None


def _learn_with_old_members(self: Any, room: Any, changed_before: int, gone: Any = ()) -> None:
    known = self._rooms.get(room.room_id)
    members = dict(known.members) if known is not None else {}
    members.update(room.members)
    for user_id in gone:
        members.pop(user_id, None)
    self._rooms[room.room_id] = known_rooms.replace(room, members=members)


# -- the gateway -----------------------------------------------------------------------------------------------------


def _accept_what_is_ahead(self: Any, items: Any) -> Any:
    ready: list[Any] = []
    for item in items:
        if item.sequence == 0 or item.sequence > self.head:
            ready.append(item)
            self.head = max(self.head, item.sequence)
        self.known = max(self.known, item.sequence)
    return ready


def _accept_doubles(self: Any, items: Any) -> Any:
    ready: list[Any] = []
    for item in items:
        if self.head == cursor.UNKNOWN:
            self.start(item.sequence - 1)
        if item.sequence <= self.head + 1:
            ready.append(item)
            self.head = max(self.head, item.sequence)
        self.known = max(self.known, item.sequence)
    return ready


def _without_running(self: Any, following: int, _running: Any) -> Any:
    return self._replace(next=following, running=(), within=None)


async def _lead_once(self: Any) -> bool:
    connection = await self.connection()
    if not self.leading and not self.__dict__.setdefault("_tried", False):
        self.__dict__["_tried"] = True
        self.leading = await connection.fetchval(leadership._TRY, leadership.LOCKS, self._key)
    return self.leading


def _never_missed(self: Any, announcement: Any) -> Any:
    _hear(self, announcement)
    return announcements.AnnouncementGap()


_hear = announcements.AnnouncementLog.hear


async def _announce_nothing(_self: Any, _announcements: Any) -> None:
    return None


def _since_the_heads(self: Any, number: int, sid: str, heads: Any, rooms: Any) -> Any:
    return dict(heads), []


def _sent_nearly_all(state: Any, sequence: int, head: int, *, joins: bool, leaves: bool) -> Any:
    reached = member_state._passed(state._replace(after=sequence), state.changes, sequence, head, leaves=leaves)
    return (
        member_state.Live(reached.changes)
        if isinstance(reached, member_state.CatchingUp) and reached.after >= head - 1
        else reached
    )


_before_event = member_state.before_event


def _before_event_whatever_was_sent(state: Any, sequence: int, *, joins: bool) -> Any:
    if isinstance(state, member_state.WaitingToJoin):
        state = state._replace(sent=0)
    return _before_event(state, sequence, joins=joins)


class _NeverAhead:
    """`Connection.ahead` that is always None."""

    def __get__(self, instance: Any, owner: Any) -> None:
        return None

    def __set__(self, instance: Any, value: Any) -> None:
        return None


class _SameOffset:
    """`Connection.came_with` that is whatever it is compared with."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        return _Anything()

    def __set__(self, instance: Any, value: Any) -> None:
        return None


class _Anything:
    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


_enter = fanout.Fanout.enter


def _enter_whenever_they_joined(self: Any, connection: Any, room: str, **options: Any) -> None:
    _enter(self, connection, room, **{**options, "joined": 0})


async def _store_nothing(_self: Any) -> None:
    await asyncio.get_running_loop().create_future()


async def _set_nothing(_pool: Any, _key: Any, _place: Any) -> None:
    return None


_place_of_cursor = read_cursors.ReadCursors._place


async def _place_without_cursor(self: Any, key: Any, sequence: int) -> Any:
    return (await _place_of_cursor(self, key, sequence))._replace(read=None)


def _do_nothing(*_args: Any, **_options: Any) -> None:
    return None


def _says_yes(*_args: Any, **_options: Any) -> bool:
    return True


def _says_no(*_args: Any, **_options: Any) -> bool:
    return False


def _says_zero(*_args: Any, **_options: Any) -> int:
    return 0


def _nobody_leaves(_self: Any, _item: Any, _leaving: Any = ()) -> list[Any]:
    return []


BUGS: tuple[Bug, ...] = (
    Bug("announced before the commit", "group-commit", "the long way publishes inside of its transaction",
        [(writer.Writer, "_try", _announce_before_commit)], 5),
    Bug("unknown is taken for done", "group-commit", "a batch whose connection broke is answered as committed",
        [(writer.Writer, "_give_up", _give_up_as_if_done)], 30),
    Bug("resends are not looked for", "group-commit", "the long way does not read what earlier sends led to",
        [(event_store, "load", _load_without_earlier)], 20),
    Bug("overtakes what waits aside", "group-commit", "the second half of a batch does not wait for the first",
        [(writer.Writer, "_not_behind", lambda _self, batch: batch)], 0),
    Bug("known rooms are not compared", "optimistic-append", "the statement appends whatever has changed meanwhile",
        [(statements, "_unchanged", _says_yes), (statements, "_still_unchanged", _says_yes)], 100),
    Bug("compared only before the lock", "optimistic-append", "a room that was waited for is not looked at again",
        [(statements, "_still_unchanged", _says_yes)], 0),
    Bug("old members are kept", "optimistic-append", "what is learned of a room keeps members of an earlier state",
        [(known_rooms.KnownRooms, "learn", _learn_with_old_members)], 0),
    Bug("what is ahead is delivered", "gap-fill", "a room's cursor jumps over what is missing",
        [(cursor.RoomCursor, "accept", _accept_what_is_ahead)], 30),
    Bug("doubles are delivered", "gap-fill", "a room's cursor lets through what it had",
        [(cursor.RoomCursor, "accept", _accept_doubles)], 30),
    Bug("mutes change nothing", "optimistic-append", "what is known of a room is not made wrong by a mute",
        [(MemberMuted, "CHANGES_DECISIONS", False)], 40),
    Bug("deleted texts stay", "group-commit", "a deletion leaves the texts in the log",
        [(message_rows, "_save_deletions", _delete_no_texts)], 60),
    Bug("writers know of no erasure", "erasure", "commands of who is being erased are taken",
        [(event_store, "load", _load_without_erasing)], 150),
    Bug("on before it is done", "erasure", "the place is stored before what is before it is erased",
        [(erasure_executor.Executor, "_go_through", _go_on_before_it_is_done)], 100),
    Bug("members for ever", "erasure", "who is erased stays a member",
        [(erasure_executor.Executor, "_end_memberships", _end_no_memberships)], 30),
    Bug("published however late", "erasure", "a chat that stood still tells gateways what is to be erased since",
        [(writer, "LATE_SECONDS", 1e9)], 0),
    Bug("nobody reads the log", "tail-failover", "what is in the log is not announced",
        [(room_publisher.RoomPublisher, "announce", _announce_nothing)], 30),
    Bug("running transactions are passed over", "tail-failover", "a place in the log is a number, and not a snapshot",
        [(position.Position, "_with", _without_running)], 0),
    Bug("nobody takes over", "tail-failover", "a chat that did not get the lock does not try again",
        [(leadership.Leadership, "lead", _lead_once)], 60),
    Bug("a missed announcement is not noticed", "tail-failover", "a gateway does not look at the chain",
        [(announcements.AnnouncementLog, "hear", _never_missed)], 0),
    Bug("recovered from the gateway's place", "resume-splice", "a client is taken to have all that it was sent",
        [(packet_history.PacketHistory, "missed_after", _since_the_heads)], 30),
    Bug("live one event early", "resume-splice", "a member that catches up is live before the last missed event",
        [(member_state, "sent", _sent_nearly_all)], 30),
    Bug("a reopened room begins earlier", "resume-splice", "what was delivered goes out again under later offsets",
        [(packet_history.PacketHistory, "delivered", _says_zero)], 0),
    Bug("a stolen connection is given back", "resume-splice", "an offset of another stay is taken for its first",
        [(Connection, "came_with", _SameOffset())], 0),
    Bug("entered ahead, recovered behind", "moves", "what others were sent later is taken for what a client lacks",
        [(Connection, "ahead", _NeverAhead())], 0),
    Bug("an old join is taken for the join", "moves", "who came back ahead of the room goes live at its own old join",
        [(member_state, "before_event", _before_event_whatever_was_sent)], 0),
    Bug("a join that may be over is believed", "moves", "a room that is behind lets in who was admitted just now",
        [(membership_hints.MembershipHints, "asks_about", _says_no)], 0),
    Bug("only the leave is missed", "moves", "who left and joined again while away is taken out by that leave",
        [(fanout.Fanout, "enter", _enter_whenever_they_joined)], 0),
    Bug("late hints are heeded", "moves", "a hint of a join that is long over brings back who left",
        [(memory, "is_old", _says_no)], 0),
    Bug("what was read is not stored", "resume-splice", "read marks stay in the memory of a chat",
        [(read_cursors.ReadCursors, "run", _store_nothing)], 30),
    Bug("what was read is not looked at", "resume-splice", "an earlier place is answered though more was read",
        [(read_cursors.ReadCursors, "_place", _place_without_cursor)], 30),
    Bug("nothing is set back", "gap-fill", "a mark as unread is answered and not stored",
        [(read_store, "mark", _set_nothing)], 30),
    Bug("cursors are not compared", "moves", "the statement that moves cursors moves them back as well",
        [(reads, "_is_behind", _says_yes)], 0),
    Bug("who leaves stays", "moves", "an event that ends a stay takes nobody out of the room",
        [(local_room.LocalRoom, "after_event", _nobody_leaves), (fanout.Fanout, "leave", _do_nothing)], 30),
    Bug("nobody asks again", "moves", "memberships are not compared after what was missed, nor now and then",
        [(MembershipCheck, "verify_all", _do_nothing), (stack, "ROUND", 1e9)], 0),
)  # fmt: skip
