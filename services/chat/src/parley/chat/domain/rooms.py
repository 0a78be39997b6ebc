"""Rooms themselves: making them, and closing them for good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, ClassVar, assert_never

import msgspec

from parley.chat.domain.events import EventData, User
from parley.chat.domain.fields import Command, Kind, Name, RoomId, Topic, check_line, check_name, checked_text
from parley.chat.domain.state import (
    DecisionContext,
    Member,
    Needs,
    Room,
    require_member,
    require_open,
    require_room_left,
)
from parley.common.errors import Code, Reject


class CreateRoom(Command, frozen=True):
    """Make a room. Its id is derived from its maker and the command's id, so that making it twice makes one."""

    NAME: ClassVar[str] = "room.create"
    SHOWS_ROOM: ClassVar[bool] = True

    name: Name
    kind: Kind = "public"
    topic: Topic = ""

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check the name and the topic. Raises `Reject`."""
        check_name(self.name)
        check_line(self.topic)


class ArchiveRoom(Command, frozen=True):
    """`room.archive`: by its owner; the room stays readable and takes no more changes."""

    NAME: ClassVar[str] = "room.archive"

    room: RoomId
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that the reason can be stored. Raises `Reject`."""
        checked_text(self.reason)


class CloseRoom(ArchiveRoom, frozen=True):
    """An administrator archives a room, theirs or not. It comes by the admin API alone, which keeps an audit log."""

    NAME: ClassVar[str] = "room.close"


class RoomCreated(EventData, frozen=True):
    """A room exists, and its maker is its owner and first member."""

    TYPE: ClassVar[str] = "room.created"
    NUMBER: ClassVar[int] = 1

    name: str
    kind: Kind
    topic: str = ""


class RoomArchived(EventData, frozen=True):
    """The room takes no more changes."""

    TYPE: ClassVar[str] = "room.archived"
    NUMBER: ClassVar[int] = 6

    reason: str = ""


LifeCommand = CreateRoom | ArchiveRoom | CloseRoom
LifeEvent = RoomCreated | RoomArchived


def life_needs(command: LifeCommand) -> Needs:
    """What the decision reads besides the room and its sender's place there."""
    return Needs(rooms=isinstance(command, CreateRoom))


def decide_life(command: LifeCommand, room: Room | None, context: DecisionContext) -> Sequence[LifeEvent]:
    """What becomes of a room by a command. Raises `Reject`."""
    match command:
        case CreateRoom():
            return decide_create(command, room, context)
        case CloseRoom():
            return decide_close(command, room, context)
        case ArchiveRoom():
            return decide_archive(command, room, context)
        case _:
            assert_never(command)


def evolve_life(room: Room, event: LifeEvent) -> None:
    """Change the room itself. The event that makes it has made it already."""
    match event:
        case RoomArchived():
            room.archived = True
        case RoomCreated():
            pass
        case _:
            assert_never(event)


def decide_create(command: CreateRoom, room: Room | None, context: DecisionContext) -> list[RoomCreated]:
    """A new room, for who may have one more. Raises `Reject`."""
    if room is not None:
        raise Reject(Code.ALREADY_EXISTS)
    require_room_left(context)
    return [RoomCreated(command.name, command.kind, command.topic)]


def decide_archive(command: ArchiveRoom, room: Room | None, context: DecisionContext) -> list[RoomArchived]:
    """The end of a room, by its owner. Raises `Reject`."""
    room = require_open(room, context.identity.user_id)
    if require_member(room, context.identity.user_id).role != "owner":
        raise Reject(Code.FORBIDDEN, "Only the room's owner may archive it.")
    return [RoomArchived(command.reason)]


def decide_close(command: CloseRoom, room: Room | None, context: DecisionContext) -> list[RoomArchived]:
    """The end of any room, by an administrator; of one that has ended, nothing. Raises `Reject`."""
    if not context.identity.is_admin:
        raise Reject(Code.FORBIDDEN)
    if room is None:
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    return [] if room.archived else [RoomArchived(command.reason)]


def evolve_created(event: RoomCreated, room_id: int, sequence: int, actor: User, at: datetime) -> Room:
    """The room at its beginning."""
    owner = Member(actor.id, actor.name or actor.id, "joined", "owner", sequence)
    return Room(
        room_id, event.name, event.kind, actor.id, at, member_count=1, topic=event.topic, members={actor.id: owner}
    )  # fmt: skip
