"""The rules of rooms, pure: what a command needs, what it does to a room, and what an event makes of it.

`needs`, `decide` and `evolve` only find the feature that a command or event belongs to, where the rules are.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from parley.chat.domain.events import User
from parley.chat.domain.identifiers import LogSecret, room_key
from parley.chat.domain.membership import (
    InviteUser,
    JoinRoom,
    LeaveRoom,
    MemberChanged,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    decide_invite,
    decide_join,
    decide_leave,
    evolve_member,
)
from parley.chat.domain.messages import MessageSent, SendMessage, decide_send
from parley.chat.domain.rooms import (
    ArchiveRoom,
    CloseRoom,
    CreateRoom,
    RoomArchived,
    RoomCreated,
    decide_archive,
    decide_close,
    decide_create,
    evolve_created,
)
from parley.chat.domain.state import DecisionContext, Needs, Room
from parley.common.errors import Code, Reject

RoomCommand = CreateRoom | JoinRoom | LeaveRoom | InviteUser | ArchiveRoom | CloseRoom | SendMessage
Event = RoomCreated | MemberInvited | MemberJoined | MemberLeft | MemberChanged | MessageSent | RoomArchived


def room_of(command: RoomCommand, actor_id: str, secret: LogSecret) -> int:
    """The key of the room a command is about; a new one's follows from its maker and the command's id.

    Raises `Reject` for a text that is no room's id: there is no such room.
    """
    if isinstance(command, CreateRoom):
        return secret.new_room(actor_id, command.id)
    if (room_id := room_key(command.room)) is None:
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    return room_id


def needs(command: RoomCommand) -> Needs:
    """What the decision reads besides the room and its sender's place there."""
    match command:
        case CreateRoom() | JoinRoom():
            return Needs(rooms=True)
        case LeaveRoom():
            return Needs(eldest=True)
        case InviteUser(user=user):
            return Needs(member=user.id, invitations=True)
        case ArchiveRoom() | SendMessage():
            return Needs()
        case _:
            assert_never(command)


def decide(command: RoomCommand, room: Room | None, context: DecisionContext) -> list[Event]:
    """The events a command leads to; none when things already are as it wants them. Raises `Reject`."""
    match command:
        case SendMessage():
            return [*decide_send(command, room, context)]
        case CreateRoom():
            return [*decide_create(command, room, context)]
        case JoinRoom():
            return [*decide_join(command, room, context)]
        case LeaveRoom():
            return [*decide_leave(command, room, context)]
        case InviteUser():
            return [*decide_invite(command, room, context)]
        case CloseRoom():
            return [*decide_close(command, room, context)]
        case ArchiveRoom():
            return [*decide_archive(command, room, context)]
        case _:
            assert_never(command)


def since(command: RoomCommand, room: Room, user_id: str) -> int:
    """The sequence of the event by which things already are as a command wants them."""
    subject = command.user.id if isinstance(command, InviteUser) else user_id
    member = room.members.get(subject)
    return member.sequence if member and not isinstance(command, ArchiveRoom) else room.changed


def evolve(room: Room | None, event: Event, room_id: int, sequence: int, actor: User, at: datetime) -> Room:
    """The room after an event. Changes `room` in place, except for the event that makes it."""
    if isinstance(event, RoomCreated):
        room = evolve_created(event, room_id, sequence, actor, at)
    elif room is None:
        raise ValueError(f"room {room_id} begins with {event.TYPE}")
    room.head = sequence
    room.messages += event.IS_MESSAGE
    if event.CHANGES_DECISIONS:
        room.changed = sequence
    match event:
        case MemberInvited() | MemberJoined() | MemberLeft() | MemberChanged():
            evolve_member(room, event, sequence, actor.id)
        case RoomArchived():
            room.archived = True
        case RoomCreated() | MessageSent():
            pass
        case _:
            assert_never(event)
    return room


def moved_user(event: Event, actor_id: str) -> str | None:
    """The user whose place in the room an event changes, if any."""
    match event:
        case RoomCreated():
            return actor_id
        case MemberInvited(user=user) | MemberJoined(user=user) | MemberLeft(user=user) | MemberChanged(user=user):
            return user.id
        case RoomArchived() | MessageSent():
            return None
        case _:
            assert_never(event)
