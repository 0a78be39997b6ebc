"""The rules of rooms, pure: what a command needs, which events it leads to, and what an event makes of a room.

`needs`, `decide` and `evolve` only find the feature that a command or an event belongs to: `rooms`, `membership`,
`people` or `messages`, which hold the rules. `batch` calls them for each command under the room's lock, `draft` without
a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from parley.chat.domain.encoding.invite_codes import room_of_code
from parley.chat.domain.encoding.room_ids import LogSecret, room_key
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import (
    InviteUser,
    JoinRoom,
    MembershipCommand,
    MembershipEvent,
    decide_membership,
    evolve_member,
    membership_needs,
)
from parley.chat.domain.messages.amending import EditMessage
from parley.chat.domain.messages.decisions import (
    MessageCommand,
    MessageEvent,
    decide_message,
    message_needs,
    message_when_done,
)
from parley.chat.domain.messages.pins import PinMessage, UnpinMessage
from parley.chat.domain.messages.reactions import AddReaction, RemoveReaction
from parley.chat.domain.messages.sending import SendMessage
from parley.chat.domain.people.authority import (
    AuthorityCommand,
    ChangeRole,
    PermissionsChanged,
    authority_needs,
    decide_authority,
    evolve_permissions,
)
from parley.chat.domain.people.direct import (
    MemberAdded,
    OpenDirect,
    decide_arrivals,
    decide_direct,
    direct_needs,
    require_unblocked_between,
)
from parley.chat.domain.people.invites import (
    InviteCommand,
    InviteEvent,
    decide_invite_link,
    evolve_invites,
    invite_needs,
)
from parley.chat.domain.people.moderation import (
    MemberRemoved,
    ModerationCommand,
    ModerationEvent,
    decide_moderation,
    evolve_moderated,
    moderation_needs,
)
from parley.chat.domain.rooms import (
    CreateRoom,
    RoomCommand,
    RoomCreated,
    RoomEventData,
    decide_room,
    evolve_created,
    evolve_room,
    room_needs,
)
from parley.chat.domain.state import DecisionContext, Needs, Room, Screened
from parley.common.errors import Code, Reject

ChatCommand = (
    RoomCommand | MembershipCommand | MessageCommand | ModerationCommand | AuthorityCommand | OpenDirect | InviteCommand
)
ChatEvent = (
    RoomEventData | MessageEvent | EventsErased | MembershipEvent | ModerationEvent | PermissionsChanged | MemberAdded
    | InviteEvent
)  # fmt: skip


def room_of(command: ChatCommand, actor_id: str, secret: LogSecret) -> int:
    """Return the key of the room that a command is about.

    Raises `Reject(not_found)` for a text that cannot be a room's id.

    The key of a new room follows from its creator and the command's id, that of a direct room from its people, and the
    code of a link into a room names it.
    """
    if isinstance(command, CreateRoom):
        # The key is known before the room is, so that a resend, on whatever replica, locks and finds the same room.
        return secret.new_room(actor_id, command.id)
    if isinstance(command, OpenDirect):
        return secret.direct_room(command.people(actor_id))
    if isinstance(command, JoinRoom) and command.invite is not None:
        room_id = room_of_code(secret, command.invite)
        # In the words of a code that is not good: which room a code leads to is only for who may use it.
        if command.room is not None and room_key(command.room) != room_id:
            raise Reject(Code.NOT_FOUND, "There is no such invite.")
        return room_id
    if (room_id := room_key(command.room or "")) is None:
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    return room_id


def needs(command: ChatCommand) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    if isinstance(command, MessageCommand):
        return message_needs(command)
    if isinstance(command, MembershipCommand):
        return membership_needs(command)
    if isinstance(command, ModerationCommand):
        return moderation_needs(command)
    if isinstance(command, AuthorityCommand):
        return authority_needs(command)
    if isinstance(command, OpenDirect):
        return direct_needs(command)
    return invite_needs(command) if isinstance(command, InviteCommand) else room_needs(command)


_REACHING = EditMessage | AddReaction | PinMessage
"""What reaches the other of a direct room as a message does. Who is blocked may only take back what they did."""
_TAKING_BACK = RemoveReaction | UnpinMessage


def decide(command: ChatCommand, room: Room | None, context: DecisionContext) -> list[ChatEvent]:
    """Return the events that a command leads to. Raises `Reject`.

    There are none if the room already is as the command wants it.
    """
    if isinstance(command, MessageCommand):
        events = decide_message(command, room, context)
        # Taking back is a subclass of doing, since both name a message; so it has to be left out by name.
        if room is not None and isinstance(command, _REACHING) and not isinstance(command, _TAKING_BACK):
            require_unblocked_between(room, context)
        # After the rules: who may not write at all is told that, and not what was found in the text.
        if context.screened is not None:
            events = _heed(events, context.screened)
        # The others of a direct room become members right before the message, so that they get it.
        arrivals = decide_arrivals(room, context) if room is not None and isinstance(command, SendMessage) else ()
        return [*arrivals, *events]
    return [*_decide_about_people(command, room, context)]


def _heed(events: Sequence[MessageEvent], screened: Screened) -> Sequence[MessageEvent]:
    """Return the events with what was said of their text, if they may hold it. Raises `Reject`."""
    if screened.refusal is not None:
        raise screened.refusal
    if not screened.flag:
        return events
    return [
        msgspec.structs.replace(event, flagged=screened.flag) if "flagged" in event.__struct_fields__ else event
        for event in events
    ]


def _decide_about_people(
    command: RoomCommand | MembershipCommand | ModerationCommand | AuthorityCommand | OpenDirect | InviteCommand,
    room: Room | None,
    context: DecisionContext,
) -> Sequence[ChatEvent]:
    if isinstance(command, MembershipCommand):
        return decide_membership(command, room, context)
    if isinstance(command, ModerationCommand):
        return decide_moderation(command, room, context)
    if isinstance(command, AuthorityCommand):
        return decide_authority(command, room, context)
    if isinstance(command, OpenDirect):
        return decide_direct(command, room, context)
    if isinstance(command, InviteCommand):
        return decide_invite_link(command, room, context)
    return decide_room(command, room, context)


def sequence_when_done(command: ChatCommand, room: Room, context: DecisionContext) -> int:
    """Return the sequence of the event that made the room what the command wants.

    A command without events is acked with it.
    """
    user_id = context.identity.user_id
    if isinstance(command, MessageCommand):
        return message_when_done(command, context) or room.changed
    if isinstance(command, ModerationCommand | ChangeRole):
        user_id = command.user
    elif isinstance(command, InviteUser):
        user_id = command.user.id
    elif not isinstance(command, MembershipCommand | OpenDirect):
        return room.changed
    member = room.members.get(user_id)
    return member.sequence if member else room.changed


def evolve(room: Room | None, event: ChatEvent, room_id: int, sequence: int, actor: NamedUser, at: datetime) -> Room:
    """Return the room after an event. It changes `room` in place, except for the event that creates the room.

    Raises `ValueError` if a room's first event is not the one that creates it.
    """
    if isinstance(event, RoomCreated):
        room = evolve_created(event, room_id, sequence, actor, at)
    elif room is None:
        raise ValueError(f"room {room_id} begins with {event.TYPE}")
    room.head = sequence
    # Erased messages were counted as well, so the number of the last one never goes back.
    room.messages += event.IS_MESSAGE
    # Messages are not among these, or every message would make what other replicas know of the room outdated.
    if event.CHANGES_DECISIONS:
        room.changed = sequence
    if isinstance(event, MembershipEvent):
        evolve_member(room, event, sequence, actor.id, at)
    elif isinstance(event, ModerationEvent):
        evolve_moderated(room, event, sequence)
    elif isinstance(event, PermissionsChanged):
        evolve_permissions(room, event, sequence)
    elif isinstance(event, MemberAdded):
        room.participants.add(event.user.id)
    elif isinstance(event, InviteEvent):
        evolve_invites(room, event, sequence, actor.id, at)
    elif isinstance(event, RoomEventData):
        evolve_room(room, event)
    return room


def changed_member(event: ChatEvent, actor_id: str) -> str | None:
    """Return the user whose membership an event changes, if it changes any."""
    if isinstance(event, RoomCreated):
        return actor_id
    return event.user.id if isinstance(event, MembershipEvent | MemberRemoved) else None
