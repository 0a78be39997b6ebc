"""Rooms themselves: creating them, changing what they are like, archiving them, and taking that back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, assert_never

import msgspec

from parley.chat.domain.custom_data import check_custom, custom_text
from parley.chat.domain.events import EventData, Membership, NamedUser, Upcaster, WhenErased
from parley.chat.domain.fields import ClientCommand, Kind, Name, RoomId, RoomKind, Topic
from parley.chat.domain.permissions import Permission, require_may
from parley.chat.domain.state import (
    DecisionContext,
    Member,
    Needs,
    Room,
    require_open,
    require_room_left,
    require_visible,
)
from parley.common.errors import Code, Reject
from parley.common.wire.rights import Right
from parley.common.wire.text import check_line, check_name, checked_text

MAX_CUSTOM = 2 * 1024
"""Bytes of a room's custom data, as JSON. Every process keeps those of many rooms in memory."""
Custom = dict[str, Any]
"""What an application keeps with a room: a JSON object."""


class CreateRoom(ClientCommand, frozen=True):
    """`room.create`: create a room.

    Its id is derived from its creator and the command's id, so a command that is sent twice creates one room.
    """

    NAME: ClassVar[str] = "room.create"
    SHOWS_ROOM: ClassVar[bool] = True

    name: Name
    kind: Kind = "public"
    topic: Topic = ""
    custom: Custom | None = None

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check the name, the topic and the custom data. Raises `Reject`."""
        check_name(self.name)
        check_line(self.topic)
        check_custom(self.custom or {}, MAX_CUSTOM, "The custom data of a room")


class UpdateRoom(ClientCommand, frozen=True):
    """`room.update`: give the room another name, topic or slow mode, or other custom data, all of them.

    A field left out stays as it is. `slow_seconds` is how long a member waits between two messages; with 0, nobody
    does.
    """

    NAME: ClassVar[str] = "room.update"

    room: RoomId
    name: Name | None = None
    topic: Topic | None = None
    slow_seconds: Annotated[int, msgspec.Meta(ge=0, le=21_600)] | None = None
    custom: Custom | None = None

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that the command changes something, and that the texts may be shown. Raises `Reject`."""
        if self.name is None and self.topic is None and self.slow_seconds is None and self.custom is None:
            raise Reject(Code.INVALID_PAYLOAD, "room.update takes a name, a topic, slow_seconds or custom.")
        check_custom(self.custom or {}, MAX_CUSTOM, "The custom data of a room")
        if self.name is not None:
            check_name(self.name)
        check_line(self.topic or "")


class ArchiveRoom(ClientCommand, frozen=True):
    """`room.archive`: close the room, which stays readable and takes no more changes."""

    NAME: ClassVar[str] = "room.archive"

    room: RoomId
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that the reason can be stored. Raises `Reject`."""
        checked_text(self.reason)


class CloseRoom(ArchiveRoom, frozen=True):
    """An administrator archives a room, whoever owns it. Only the admin API sends it, which keeps an audit log."""

    NAME: ClassVar[str] = "room.close"


class UnarchiveRoom(ClientCommand, frozen=True):
    """`room.unarchive`: open an archived room again. Of those that an administrator closed, only administrators may."""

    NAME: ClassVar[str] = "room.unarchive"

    room: RoomId


class RoomCreated(EventData, frozen=True):
    """A room exists. The user who created it is its owner and first member; nobody owns a direct room."""

    TYPE: ClassVar[str] = "room.created"
    NUMBER: ClassVar[int] = 1
    MEMBERSHIP: ClassVar[Membership] = "joins"
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(("kind",), ("name", "topic", "custom"), "always")

    name: str
    kind: RoomKind
    topic: str = ""
    custom: Custom | None = None


def _with_topic(data: dict[str, Any]) -> dict[str, Any]:
    # The first version had both texts, and left out a topic that was empty.
    return {"topic": "", **data}


class RoomUpdated(EventData, frozen=True):
    """What the room is like from here on. The event has what changed alone; an empty topic, or empty `custom`, is none.

    What did not change may be another person's text, of which no copy may outlive its erasure.
    """

    TYPE: ClassVar[str] = "room.updated"
    NUMBER: ClassVar[int] = 9
    UPCASTERS: ClassVar[tuple[Upcaster, ...]] = (_with_topic,)
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(("slow_seconds",), ("name", "topic", "custom"), "always")

    name: str | None = None
    topic: str | None = None
    slow_seconds: int | None = None
    custom: Custom | None = None


class RoomArchived(EventData, frozen=True):
    """The room takes no more changes. It was an administrator who `closed` it, or one of those who may archive it."""

    TYPE: ClassVar[str] = "room.archived"
    NUMBER: ClassVar[int] = 6
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(("closed",), applied="always", outlives_room=True)

    reason: str = ""
    closed: bool = False


class RoomUnarchived(EventData, frozen=True):
    """The room takes changes again."""

    TYPE: ClassVar[str] = "room.unarchived"
    NUMBER: ClassVar[int] = 37
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(applied="always")


RoomCommand = CreateRoom | UpdateRoom | ArchiveRoom | CloseRoom | UnarchiveRoom
RoomEventData = RoomCreated | RoomUpdated | RoomArchived | RoomUnarchived


def room_needs(command: RoomCommand) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    # An administrator need not be in a room to close it.
    return Needs(rooms=isinstance(command, CreateRoom), anyway=isinstance(command, CloseRoom))


def decide_room(command: RoomCommand, room: Room | None, context: DecisionContext) -> Sequence[RoomEventData]:
    """Decide a command about the room itself. Raises `Reject`."""
    match command:
        case CreateRoom():
            return decide_create(command, room, context)
        case UpdateRoom():
            return decide_update(command, room, context)
        case CloseRoom():
            return decide_close(command, room, context)
        case ArchiveRoom():
            return decide_archive(command, room, context)
        case UnarchiveRoom():
            return decide_unarchive(room, context)
        case _:
            assert_never(command)


def evolve_room(room: Room, event: RoomEventData) -> None:
    """Apply an event to the room itself. `evolve_created` has already applied the event that creates it."""
    match event:
        case RoomUpdated(name=name, topic=topic, slow_seconds=slow_seconds, custom=custom):
            if name is not None:
                # The erased event that held the name before holds a text that nobody has any more, and loses it.
                room.name, room.name_kept_in = name, None
            if topic is not None:
                room.topic, room.topic_kept_in = topic, None
            if slow_seconds is not None:
                room.slow_seconds = slow_seconds
            if custom is not None:
                room.custom, room.custom_kept_in = custom_text(custom), None
        case RoomArchived(closed=closed):
            room.archived, room.closed = True, closed
        case RoomUnarchived():
            room.archived = room.closed = False
        case RoomCreated():
            pass
        case _:
            assert_never(event)


def decide_create(command: CreateRoom, room: Room | None, context: DecisionContext) -> list[RoomCreated]:
    """Create the room, unless its id is taken or its creator is in too many rooms. Raises `Reject`."""
    if room is not None:
        raise Reject(Code.ALREADY_EXISTS)
    require_room_left(context)
    return [RoomCreated(command.name, command.kind, command.topic, command.custom or None)]


def decide_update(command: UpdateRoom, room: Room | None, context: DecisionContext) -> list[RoomUpdated]:
    """Change what the room is like, if the sender may. Raises `Reject`.

    There is no event if nothing changes.
    """
    room = require_open(room, context.identity.user_id)
    if command.name is not None or command.topic is not None or command.custom is not None:
        require_may(Permission.UPDATE, room, context)
    if command.slow_seconds is not None:
        require_may(Permission.MODERATE, room, context)
    name = None if command.name == room.name else command.name
    topic = None if command.topic == room.topic else command.topic
    slow_seconds = None if command.slow_seconds == room.slow_seconds else command.slow_seconds
    custom = None if command.custom is None or custom_text(command.custom) == room.custom else command.custom
    changed = RoomUpdated(name, topic, slow_seconds, custom)
    return [] if changed == RoomUpdated() else [changed]


def decide_archive(command: ArchiveRoom, room: Room | None, context: DecisionContext) -> list[RoomArchived]:
    """Archive the room, if the sender may. Raises `Reject`."""
    room = require_open(room, context.identity.user_id)
    require_may(Permission.ARCHIVE, room, context)
    return [RoomArchived(command.reason)]


def decide_unarchive(room: Room | None, context: DecisionContext) -> list[RoomUnarchived]:
    """Open an archived room again, if the sender may; no event if it is open. Raises `Reject`."""
    room = require_visible(room, context.identity.user_id)
    require_may(Permission.ARCHIVE, room, context)
    if room.closed and not context.identity.may(Right.MODERATE):
        raise Reject(Code.FORBIDDEN, "An administrator closed this room.")
    return [RoomUnarchived()] if room.archived else []


def decide_close(command: CloseRoom, room: Room | None, context: DecisionContext) -> list[RoomArchived]:
    """Archive any room, if the sender is an administrator; no event if it is archived already. Raises `Reject`."""
    if not context.identity.may(Right.MODERATE):
        raise Reject(Code.FORBIDDEN)
    if room is None:
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    return [] if room.archived and room.closed else [RoomArchived(command.reason, closed=True)]


def evolve_created(event: RoomCreated, room_id: int, sequence: int, actor: NamedUser, at: datetime) -> Room:
    """Return the room as its first event makes it."""
    # Of the people of a direct room none has power over another.
    role = "member" if event.kind == "direct" else "owner"
    maker = Member(actor.id, actor.name or actor.id, "joined", role, sequence)
    room = Room(
        room_id, event.name, event.kind, actor.id, at, member_count=1, topic=event.topic, members={actor.id: maker},
        custom=custom_text(event.custom),
    )  # fmt: skip
    if event.kind == "direct":
        room.participants.add(actor.id)
    return room
