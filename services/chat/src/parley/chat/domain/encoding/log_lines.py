"""The log as lines of JSON, pure: how an export writes it, and which lines an import accepts.

The first line is the log itself, with the secret that ids and fingerprints are derived from. Then come the rooms in the
order of their keys, each with its events in order and the commands it remembers. The last line says how many there
were. An import accepts a line only if a log could have written it there: nothing is missing before it, its ids are
those that follow from its contents, and its data are those of its type, in any version that the type ever had.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec

from parley.chat.domain.encoding.event_codec import CODEC, ERASED, StoredEvent, UnknownEvent
from parley.chat.domain.encoding.recorded import NOTHING, Recorded
from parley.chat.domain.encoding.room_ids import event_id, room_key
from parley.chat.domain.erasure import TEXT_TYPES
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.messages.sending import MessageSent
from parley.chat.domain.rooms import RoomCreated
from parley.common.errors import Reject
from parley.common.wire.text import checked_text

FORMAT = 1
MAX_LINE = 1024 * 1024
"""Bytes of a line. The longest line that an export writes is about half as long."""
MAX_EVENTS_OF_COMMAND = 64
"""Events that one command may lead to; an event's id is compared with those of so many."""
# The column is a signed integer of four bytes.
FOUR_BYTES = 2**31


class LogLine(msgspec.Struct, frozen=True, tag="log", tag_field="line", forbid_unknown_fields=True):
    """The first line: the format of the file, and the log's secret."""

    format: int
    secret: bytes


class EventLine(msgspec.Struct, frozen=True, tag="event", tag_field="line", omit_defaults=True):
    """One event. An erased event has version 0."""

    room: str
    sequence: int
    number: int
    event_id: UUID
    type: str
    version: int
    at: datetime
    data: msgspec.Raw
    actor: str = ""
    name: str = ""
    command: str = ""
    fingerprint: int = 0


class CommandLine(msgspec.Struct, frozen=True, tag="command", tag_field="line", forbid_unknown_fields=True):
    """An accepted command that appended nothing. The log remembers it, so that a resend is recognised."""

    room: str
    key: UUID
    sequence: int
    fingerprint: int


class EndLine(msgspec.Struct, frozen=True, tag="end", tag_field="line", forbid_unknown_fields=True):
    """The last line. A file without it was cut off."""

    events: int
    commands: int


class _ErasedReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What remains of a message in a thread."""

    thread: Annotated[int, msgspec.Meta(ge=1)]


Line = LogLine | EventLine | CommandLine | EndLine

_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


class Unbelievable(ValueError):
    """A line that no log wrote. The text says why, without the line's number."""


def encode_line(line: Line) -> bytes:
    """Return a line as bytes, with its line end."""
    return _encoder.encode(line) + b"\n"


def event_line(recorded: Recorded) -> EventLine:
    """Return the line of an event."""
    version = ERASED if recorded.erased else CODEC.stored_as(recorded.type)[1]
    return EventLine(
        recorded.room, recorded.sequence, recorded.number, recorded.event_id, recorded.type, version,
        recorded.recorded_at, msgspec.Raw(recorded.data), recorded.actor_id, recorded.actor_name, recorded.command_id,
        recorded.fingerprint,
    )  # fmt: skip


@dataclass(slots=True)
class LogLineReader:
    """Reads lines in order and checks each one.

    `events` and `commands` count the lines that were read, and `ended` says that the last line was among them. The
    other fields are where in the file it is: the room, its last sequence, its messages, and whether its events have
    ended.
    """

    secret: bytes | None = None
    events: int = 0
    commands: int = 0
    ended: bool = False
    _room: int | None = None
    _head: int = 0
    _messages: int = 0
    _closed: bool = False

    def read(self, line: bytes) -> LogLine | Recorded | tuple[int, CommandLine] | EndLine:
        """Return what a line says; for a command with its room's key. Raises `Unbelievable`."""
        if self.ended:
            raise Unbelievable("there is more after the last line")
        if not line.endswith(b"\n"):
            raise Unbelievable("the file ends within this line" if len(line) < MAX_LINE else "the line is too long")
        try:
            found: Line = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unbelievable(f"not a line of a log: {error}") from error
        if isinstance(found, LogLine) != (self.secret is None):
            raise Unbelievable("the log's own line is the first one, and no other")
        match found:
            case LogLine():
                return self._begin(found)
            case EventLine():
                return self._event(found)
            case CommandLine():
                return self._command(found)
            case EndLine():
                if (found.events, found.commands) != (self.events, self.commands):
                    raise Unbelievable(f"of {found.events} events and {found.commands} commands some are missing")
                self.ended = True
                return found

    def _begin(self, line: LogLine) -> LogLine:
        if line.format != FORMAT:
            raise Unbelievable(f"format {line.format} is of a newer version")
        if len(line.secret) < 16:
            raise Unbelievable("the log's secret is too short")
        self.secret = line.secret
        return line

    def _event(self, line: EventLine) -> Recorded:
        room_id = _key(line.room)
        # Rooms come in the order of their keys, so a room that was left cannot come again with the same events.
        if room_id != self._room:
            if self._room is not None and room_id < self._room:
                raise Unbelievable("rooms are in the order of their keys")
            self._room, self._head, self._messages, self._closed = room_id, 0, 0, False
        if self._closed:
            raise Unbelievable("events come before the commands of their room")
        if line.sequence != self._head + 1:
            raise Unbelievable(f"event {line.sequence} of room {line.room} comes after event {self._head}")
        recorded = _recorded(line, room_id)
        # Without its first event, nothing could say what a room is.
        if self._head == 0 and recorded.type != RoomCreated.TYPE:
            raise Unbelievable("a room begins with room.created")
        self._messages += CODEC.kind(recorded.type).IS_MESSAGE
        if line.number != self._messages:
            raise Unbelievable(f"the number is {line.number} after {self._messages} messages")
        self._head += 1
        self.events += 1
        return recorded

    def _command(self, line: CommandLine) -> tuple[int, CommandLine]:
        room_id = _key(line.room)
        if room_id != self._room or not 0 < line.sequence <= self._head:
            raise Unbelievable("a command comes after its room's events, and names one of them")
        _check_fingerprint(line.fingerprint)
        self._closed = True
        self.commands += 1
        return room_id, line


def _key(room: str) -> int:
    if (room_id := room_key(room)) is None:
        raise Unbelievable(f"{room[:64]!r} is no room's id")
    return room_id


def _recorded(line: EventLine, room_id: int) -> Recorded:
    """Return the event of a line, with its data in the current version. Raises `Unbelievable`."""
    _check_fingerprint(line.fingerprint)
    if line.at.tzinfo is None:
        raise Unbelievable("a moment has a zone")
    if len(line.actor) > 256 or len(line.name) > 256 or len(line.command) > 64:
        raise Unbelievable("a name or an id is too long")
    try:
        number, _ = CODEC.stored_as(line.type)
        if line.version < ERASED:
            raise Unbelievable(f"there is no version {line.version}")
        for text in (line.actor, line.name, line.command):
            checked_text(text)
        data = _data(line, number)
    except (UnknownEvent, KeyError) as error:
        raise Unbelievable(f"no event of type {line.type[:64]!r}, version {line.version}, is known") from error
    except Reject as error:
        raise Unbelievable(error.message) from error
    except (msgspec.ValidationError, msgspec.DecodeError, TypeError, AttributeError) as error:
        raise Unbelievable(f"the data are not those of {line.type}: {error}") from error
    erased = line.version == ERASED
    recorded = Recorded(
        room_id, line.sequence, line.number, line.event_id, line.type, line.actor, line.name, line.command,
        line.fingerprint, data, line.at, erased,
    )  # fmt: skip
    if erased and (line.command, line.fingerprint) != ("", 0):
        raise Unbelievable("of an erased event no command is known")
    # Who wrote a message stays known when it is deleted.
    if erased and (line.actor or line.name) and line.type not in TEXT_TYPES:
        raise Unbelievable("of an erased event nobody is known")
    if not erased and line.event_id not in _possible_ids(recorded):
        raise Unbelievable("the event's id does not follow from its command")
    return recorded


def _data(line: EventLine, number: int) -> bytes:
    data = bytes(line.data)
    if line.version == ERASED and msgspec.json.decode(data) == {}:
        return NOTHING
    if line.version == ERASED and line.type == MessageSent.TYPE:
        return _encoder.encode(msgspec.json.decode(data, type=_ErasedReply))
    # The data go through the type, so that they have the shape of what is stored today.
    event = CODEC.decode(StoredEvent(number, line.version, data))
    _check_texts(msgspec.to_builtins(event))
    return CODEC.encode(event).data


def _check_texts(value: Any) -> None:
    if isinstance(value, str):
        checked_text(value)
    elif isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            checked_text(name)
            _check_texts(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("list[Any]", value):
            _check_texts(inner)


def _check_fingerprint(fingerprint: int) -> None:
    if not -FOUR_BYTES <= fingerprint < FOUR_BYTES:
        raise Unbelievable("a fingerprint has four bytes")


def _possible_ids(recorded: Recorded) -> set[UUID]:
    places = list(range(MAX_EVENTS_OF_COMMAND))
    if recorded.type == EventsErased.TYPE and isinstance(event := recorded.event(), EventsErased) and event.ranges:
        # Its id was made from the first erased sequence instead of an index (`Executor._notify`).
        places = [event.ranges[0][0]]
    return {event_id(recorded.room_id, recorded.actor_id, recorded.command_id, place) for place in places}
