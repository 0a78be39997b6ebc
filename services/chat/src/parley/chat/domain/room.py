"""The rules of rooms, pure: what a command needs, which events it leads to, and what an event makes of a room.

`needs`, `decide` and `evolve` only find the feature that a command or an event belongs to: `rooms`, `membership` or
`messages`, which hold the rules. `batch` calls them for each command under the room's lock, `draft` without a lock.
"""

from __future__ import annotations

from datetime import datetime

from parley.chat.domain.encoding.room_ids import LogSecret, room_key
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import (
    InviteUser,
    MembershipCommand,
    MembershipEvent,
    decide_membership,
    evolve_member,
    membership_needs,
)
from parley.chat.domain.messages import MessageCommand, MessageEvent, decide_message
from parley.chat.domain.rooms import (
    CreateRoom,
    LifeCommand,
    LifeEvent,
    RoomCreated,
    decide_life,
    evolve_created,
    evolve_life,
    life_needs,
)
from parley.chat.domain.state import NO_NEEDS, DecisionContext, Needs, Room
from parley.common.errors import Code, Reject

RoomCommand = LifeCommand | MembershipCommand | MessageCommand
Event = LifeEvent | MembershipEvent | MessageEvent | EventsErased


def room_of(command: RoomCommand, actor_id: str, secret: LogSecret) -> int:
    """Return the key of the room that a command is about.

    Raises `Reject(not_found)` for a text that cannot be a room's id.

    The key of a new room follows from its creator and the command's id.
    """
    if isinstance(command, CreateRoom):
        return secret.new_room(actor_id, command.id)
    if (room_id := room_key(command.room)) is None:
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    return room_id


def needs(command: RoomCommand) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    if isinstance(command, MessageCommand):
        return Needs(uploads=command.attachments) if command.attachments else NO_NEEDS
    return membership_needs(command) if isinstance(command, MembershipCommand) else life_needs(command)


def decide(command: RoomCommand, room: Room | None, context: DecisionContext) -> list[Event]:
    """Return the events that a command leads to. Raises `Reject`.

    There are none if the room already is as the command wants it.
    """
    if isinstance(command, MessageCommand):
        return [*decide_message(command, room, context)]
    if isinstance(command, MembershipCommand):
        return [*decide_membership(command, room, context)]
    return [*decide_life(command, room, context)]


def since(command: RoomCommand, room: Room, user_id: str) -> int:
    """Return the sequence of the event that made the room what the command wants.

    A command without events is acked with it.
    """
    if not isinstance(command, MembershipCommand):
        return room.changed
    member = room.members.get(command.user.id if isinstance(command, InviteUser) else user_id)
    return member.sequence if member else room.changed


def evolve(room: Room | None, event: Event, room_id: int, sequence: int, actor: NamedUser, at: datetime) -> Room:
    """Return the room after an event. It changes `room` in place, except for the event that creates the room.

    Raises `ValueError` if a room's first event is not the one that creates it.
    """
    if isinstance(event, RoomCreated):
        room = evolve_created(event, room_id, sequence, actor, at)
    elif room is None:
        raise ValueError(f"room {room_id} begins with {event.TYPE}")
    room.head = sequence
    room.messages += event.IS_MESSAGE
    if event.CHANGES_DECISIONS:
        room.changed = sequence
    if isinstance(event, MembershipEvent):
        evolve_member(room, event, sequence, actor.id, at)
    elif isinstance(event, LifeEvent):
        evolve_life(room, event)
    return room


def moved_user(event: Event, actor_id: str) -> str | None:
    """Return the user whose membership an event changes, if it changes any."""
    if isinstance(event, RoomCreated):
        return actor_id
    return event.user.id if isinstance(event, MembershipEvent) else None
