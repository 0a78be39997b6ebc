"""The rules of rooms, pure: `decide` says what a command does to a room, `evolve` what an event makes of it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

from parley.chat.domain.commands import (
    ArchiveRoom,
    CreateRoom,
    InviteUser,
    JoinRoom,
    Kind,
    LeaveRoom,
    RoomCommand,
    SendMessage,
)
from parley.chat.domain.events import (
    Event,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MessageSent,
    RoomArchived,
    RoomCreated,
    User,
)
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity


@dataclass(frozen=True, slots=True)
class Member:
    """A user's place in a room: `state` is `invited` or `joined`, `sequence` that of the event that led to it."""

    user_id: str
    name: str
    state: str
    role: str
    sequence: int

    @property
    def joined(self) -> bool:
        """Whether the user reads and writes here."""
        return self.state == "joined"


@dataclass(slots=True)
class Room:
    """A room as far as a decision needs it: `members` holds those who were loaded, not all."""

    id: str
    name: str
    kind: Kind
    created_by: str
    created_at: datetime
    archived: bool = False
    head: int = 0
    member_count: int = 0
    members: dict[str, Member] = field(default_factory=dict[str, Member])

    def visible_to(self, user_id: str) -> bool:
        """Whether the user may know that the room exists."""
        return self.kind == "public" or user_id in self.members


def room_id_of(command: RoomCommand, actor_id: str) -> str:
    """The room a command is about; a new room's id follows from its maker and the command's id."""
    if not isinstance(command, CreateRoom):
        return command.room
    digest = hashlib.sha256(f"{actor_id}\x00{command.id}".encode()).digest()[:15]
    return "r" + base64.b32encode(digest).decode().lower()


def decide(command: RoomCommand, room: Room | None, identity: Identity) -> Event | None:
    """The event a command leads to, or None when things already are as it wants them. Raises `Reject`."""
    if isinstance(command, CreateRoom):
        if room is not None:
            raise Reject(Code.ALREADY_EXISTS)
        return RoomCreated(command.name, command.kind)
    administers = isinstance(command, ArchiveRoom) and identity.is_admin
    if room is None or not (room.visible_to(identity.user_id) or administers):
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    if room.archived:
        raise Reject(Code.ROOM_ARCHIVED)
    member = room.members.get(identity.user_id)
    match command:
        case JoinRoom():
            return None if member and member.joined else MemberJoined(User(identity.user_id, identity.name))
        case LeaveRoom():
            if member is None:
                raise Reject(Code.NOT_A_MEMBER)
            return MemberLeft(User(identity.user_id, identity.name))
        case InviteUser(user=user):
            _require(member)
            return None if user.id in room.members else MemberInvited(User(user.id, user.name))
        case SendMessage(body=body, reply_to=reply_to):
            _require(member)
            if (reply_to or 0) > room.head:
                raise Reject(Code.INVALID_PAYLOAD, "reply_to names an event the room does not have.")
            return MessageSent(body, reply_to)
        case ArchiveRoom(reason=reason):
            if not administers and _require(member).role != "owner":
                raise Reject(Code.FORBIDDEN, "Only the room's owner may archive it.")
            return RoomArchived(reason)
        case _:
            assert_never(command)


def _require(member: Member | None) -> Member:
    if member is None or not member.joined:
        raise Reject(Code.NOT_A_MEMBER)
    return member


def evolve(room: Room | None, event: Event, room_id: str, sequence: int, actor: User, at: datetime) -> Room:
    """The room after an event. Changes `room` in place, except for the event that makes it."""
    if isinstance(event, RoomCreated):
        owner = Member(actor.id, actor.name or actor.id, "joined", "owner", sequence)
        return Room(room_id, event.name, event.kind, actor.id, at, False, sequence, 1, {actor.id: owner})
    if room is None:
        raise ValueError(f"room {room_id} begins with {event.TYPE}")
    room.head = sequence
    match event:
        case MemberInvited(user=user):
            room.members[user.id] = Member(user.id, user.name or user.id, "invited", "member", sequence)
        case MemberJoined(user=user):
            room.members[user.id] = Member(user.id, user.name or user.id, "joined", "member", sequence)
            room.member_count += 1
        case MemberLeft(user=user):
            left = room.members.pop(user.id, None)
            room.member_count -= 1 if left and left.joined else 0
        case RoomArchived():
            room.archived = True
        case MessageSent():
            pass
        case _:
            assert_never(event)
    return room
