"""Imports exported lines into a log, some hundred events of a room per transaction, each checked before it is stored.

Events that are there already are compared and left as they are, so an import may be repeated or continued after it was
stopped. An event that is there and differs ends it, with nothing of that transaction stored, and so does a line that no
log could have written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from parley.chat.domain.batch_state import BatchDecision, People, Remembered
from parley.chat.domain.encoding.event_codec import CODEC
from parley.chat.domain.encoding.log_lines import CommandLine, EndLine, LogLine, LogLineReader, Unbelievable
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.erasure import TEXTS, Erasure, evolve_recorded, hidden, texts_dropped_by
from parley.chat.domain.messages.amending import MessageEdited
from parley.chat.domain.messages.amendments import amend_recorded
from parley.chat.domain.messages.known import RoomMessages, Touched
from parley.chat.domain.messages.sending import MessageSent
from parley.chat.domain.room import changed_member
from parley.chat.domain.rooms import RoomCreated, RoomUpdated
from parley.chat.domain.state import Room
from parley.chat.log import event_store
from parley.chat.log.erasure.erasures import asked_for
from parley.chat.log.statements import EVENT_COLUMNS

CHUNK = 500
"""Events in one transaction."""
CHUNK_BYTES = 4 * 1024 * 1024

_LOCK = "SELECT head FROM chat.rooms WHERE room_id = $1 FOR NO KEY UPDATE"
_STORED = f"""
SELECT {EVENT_COLUMNS} FROM chat.events e WHERE e.room_id = $1 AND e.sequence BETWEEN $2 AND $3
ORDER BY e.sequence
"""
_OTHER_COMMAND = """
SELECT command_key FROM chat.commands
WHERE room_id = $1 AND command_key = $2 AND (sequence, fingerprint) <> ($3, $4)
"""
_WRITERS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'parley-chat writer'
"""

Report = Callable[[int, int], None]
"""Hears how many lines were read, and how many events were added."""


class ImportRefused(Exception):
    """The file, or something in it, cannot be imported. The text names the line and says why."""


@dataclass(slots=True)
class Imported:
    """The result of an import: how many events were added, and how many were there already."""

    added: int = 0
    present: int = 0


class Importer:
    """Imports one file. It keeps the room that it is at, and the events of the next transaction."""

    def __init__(self, connection: Any, report: Report) -> None:
        self._connection = connection
        self._report = report
        self._reader = LogLineReader()
        self._erasures: list[Erasure] = []
        self._room: Room | None = None
        self._messages = RoomMessages()
        self._chunk: list[tuple[int, Recorded]] = []
        """The events of the next transaction, with the numbers of their lines."""
        self._bytes = 0
        self._result = Imported()

    async def run(self, lines: Iterable[bytes]) -> Imported:
        """Import all lines. Raises `ImportRefused`, and what asyncpg raises; what was committed before stays."""
        self._erasures = await asked_for(self._connection)
        number = 0
        for number, line in enumerate(lines, 1):
            try:
                found = self._reader.read(line)
            except Unbelievable as error:
                raise ImportRefused(f"line {number}: {error}") from error
            await self._take(number, found)
        if not self._reader.ended:
            raise ImportRefused(f"the file ends after line {number}, before its last one: it was cut off")
        return self._result

    async def _take(self, number: int, found: LogLine | Recorded | tuple[int, CommandLine] | EndLine) -> None:
        if isinstance(found, Recorded):
            ends = bool(self._chunk) and found.room_id != self._chunk[0][1].room_id
            if self._chunk and (ends or len(self._chunk) == CHUNK or self._bytes > CHUNK_BYTES):
                await self._store(number, ends=ends)
            if found.sequence == 1:
                self._room, self._messages = None, RoomMessages()
            self._chunk.append((number, found))
            self._bytes += len(found.data)
            return
        await self._store(number, ends=True)
        if isinstance(found, LogLine):
            await self._adopt(found.secret)
        elif not isinstance(found, EndLine):
            await self._remember(number, *found)

    async def _adopt(self, secret: bytes) -> None:
        """Take the file's secret over into a log without events, because ids and fingerprints are derived from it."""
        if await event_store.read_secret(self._connection) == secret:
            return
        if await self._connection.fetchval("SELECT EXISTS (SELECT FROM chat.events)"):
            raise ImportRefused("line 1: the file is of another log, and this one has events of its own")
        # A running writer derives ids from the old secret until it connects anew.
        if await self._connection.fetchval(_WRITERS):
            raise ImportRefused("line 1: the log takes over the file's secret; stop all chats, and import again")
        await self._connection.execute("UPDATE chat.log SET room_secret = $1", secret)

    async def _store(self, number: int, *, ends: bool) -> None:
        """Store the events that are waiting. `ends` says that they are the last ones of their room."""
        if not self._chunk:
            return
        chunk, self._chunk, self._bytes = self._chunk, [], 0
        first, last = chunk[0][1], chunk[-1][1]
        async with self._connection.transaction(isolation="read_committed"):
            head = await self._connection.fetchval(_LOCK, first.room_id)
            rows = await self._connection.fetch(_STORED, first.room_id, first.sequence, last.sequence)
            stored = {row["sequence"]: event_store.stored_row(row) for row in rows}
            decision = BatchDecision()
            for line, recorded in chunk:
                self._place(line, recorded, stored.get(recorded.sequence), decision)
            room = self._room
            if decision.appended and room is not None:
                if (head or 0) != decision.appended[0].sequence - 1:
                    raise ImportRefused(f"line {chunk[0][0]}: room {first.room} is being written to; import again")
                if ends and not room.member_count:
                    # Only at the end: what the file has of a room was kept for those who are in it then.
                    decision.forget(room, TEXTS)
                (decision.created if head is None else decision.changed_rooms)[room.room_id] = room
                decision.messages[room.room_id] = self._messages
                await event_store.save(self._connection, decision, {room.room_id: room})
                self._messages.touched = Touched()
        self._result.added += len(decision.appended)
        self._result.present += len(chunk) - len(decision.appended)
        self._report(number, self._result.added)

    def _place(self, line: int, recorded: Recorded, stored: Recorded | None, decision: BatchDecision) -> None:
        """Compare an event with what is stored, or append it; then apply it to the room."""
        if stored is None:
            # What was erased here stays erased, even if an older file still has it.
            if (erasure := self._erasure(recorded)) is not None:
                recorded = erasure.erase(recorded)
            elif self._edits_erased(recorded):
                recorded = hidden(recorded)
            decision.appended.append(recorded)
            if self._room is not None and recorded.type == RoomUpdated.TYPE:
                decision.forget(self._room, texts_dropped_by(self._room, recorded.event()))
        elif stored.erased and stored.event_id == recorded.event_id:
            recorded = stored
        elif stored.event_id == recorded.event_id and recorded.erased:
            raise ImportRefused(
                f"line {line}: event {recorded.sequence} of room {recorded.room} is erased; erase it here first"
            )
        elif stored != recorded:
            raise ImportRefused(f"line {line}: room {recorded.room} has another event {recorded.sequence}")
        people = People.of(self._room)
        try:
            self._room = evolve_recorded(self._room, recorded)
            # Of most messages nothing has to be kept in mind while the room is read.
            if recorded.type != MessageSent.TYPE or recorded.erased or b'"thread"' in recorded.data:
                amend_recorded(self._messages, recorded)
        except (ValueError, KeyError) as error:
            raise ImportRefused(f"line {line}: {recorded.type} cannot be here") from error
        if stored is None:
            decision.note_people(people, self._room)
            if (user_id := _changed_member(recorded)) is not None:
                decision.members[recorded.room_id, user_id] = None

    def _erasure(self, recorded: Recorded) -> Erasure | None:
        for one in self._erasures:
            if one.covers(recorded) and (one.completed_at is None or recorded.recorded_at <= one.completed_at):
                return one
        return None

    def _edits_erased(self, recorded: Recorded) -> bool:
        """Return whether an event is the edit of a message that was erased, of which then no version may stay."""
        if recorded.type != MessageEdited.TYPE or recorded.erased or not isinstance(
            event := recorded.event(), MessageEdited
        ):  # fmt: skip
            return False
        target = self._messages.targets.get(event.message)
        return target is not None and target.erased

    async def _remember(self, number: int, room_id: int, line: CommandLine) -> None:
        other = await self._connection.fetchval(_OTHER_COMMAND, room_id, line.key, line.sequence, line.fingerprint)
        if other is not None:
            raise ImportRefused(f"line {number}: room {line.room} remembers another command of this id")
        remembered = Remembered(line.fingerprint, line.sequence)
        await event_store.save(self._connection, BatchDecision(remembered={line.key: (room_id, remembered)}), {})


def _changed_member(recorded: Recorded) -> str | None:
    """Return the user whose membership an event changes, if it changes any."""
    if not recorded.applies or (recorded.erased and recorded.type == RoomCreated.TYPE):
        return None
    if not CODEC.kind(recorded.type).CHANGES_DECISIONS:
        return None
    return changed_member(recorded.event(), recorded.actor_id)
