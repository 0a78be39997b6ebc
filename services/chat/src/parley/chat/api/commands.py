"""The table of chat's commands. Socket routes, REST routes, and both documents follow from it.

A new command is a row here, a class with its rules in the feature of `domain` that it belongs to, and a paragraph in
docs/protocol.md. Fields in braces of a path are taken from it, all others from the body; `id` may be left out of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args
from uuid import UUID

import msgspec

from parley.chat.domain.batch import Accepted
from parley.chat.domain.events import EventData, Instant
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, TransferRoom
from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.domain.room import Event, RoomCommand
from parley.chat.domain.rooms import ArchiveRoom, CreateRoom, UpdateRoom
from parley.chat.queries.rooms import RoomView, room_view
from parley.framework import Identity


@dataclass(frozen=True, slots=True)
class CommandRoute:
    """One command: its type, which has its name, where it is over HTTP, what it is in a few words, and who may not."""

    command: type[RoomCommand]
    path: str
    summary: str
    writes: bool = True
    """Whether it is refused to who may read only."""


COMMANDS: tuple[CommandRoute, ...] = (
    CommandRoute(CreateRoom, "/rooms", "Create a room."),
    CommandRoute(JoinRoom, "/rooms/{room}/join", "Join a room."),
    CommandRoute(LeaveRoom, "/rooms/{room}/leave", "Leave a room, or decline an invitation."),
    CommandRoute(InviteUser, "/rooms/{room}/invite", "Let a user see and join a room."),
    CommandRoute(TransferRoom, "/rooms/{room}/transfer", "Give a room to another member; its owner may."),
    CommandRoute(UpdateRoom, "/rooms/{room}/update", "Change the name or topic of a room; its owner may."),
    CommandRoute(ArchiveRoom, "/rooms/{room}/archive", "Close a room; its owner may."),
    CommandRoute(SendMessage, "/rooms/{room}/messages", "Send a message."),
)

EVENTS: tuple[type[EventData], ...] = get_args(Event)
"""What clients are sent: every event that a room may have."""


class CommandAck(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a command: of a message its place in the log, of those that lead into a room the room as well.

    Without `event_id` and `at`, nothing had to change.
    """

    sequence: int
    event_id: UUID | None = None
    at: Instant | None = None
    number: int | None = None
    room: RoomView | None = None


def ack(identity: Identity, accepted: Accepted) -> CommandAck:
    """The result of an accepted command."""
    recorded = accepted.recorded
    return CommandAck(
        accepted.sequence,
        recorded.event_id if recorded is not None else None,
        recorded.recorded_at if recorded is not None else None,
        recorded.number if recorded is not None and recorded.type == MessageSent.TYPE else None,
        room_view(accepted.room, identity.user_id) if accepted.room is not None else None,
    )
