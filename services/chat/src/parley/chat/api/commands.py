"""The table of chat's commands. Socket routes, REST routes, and the documents of both are made from it.

A new command is a row here, and a class with its rules in a feature module of `domain`; CONTRIBUTING.md says what else
goes with it, such as what an erasure leaves of its event. Over HTTP the fields in braces come from the path and all
others from the body, where `id` may be left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args
from uuid import UUID

import msgspec

from parley.chat.domain.batch_state import Accepted
from parley.chat.domain.events import EventData, Instant
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, TransferRoom
from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.domain.messages.pins import PinMessage, UnpinMessage
from parley.chat.domain.messages.reactions import AddReaction, RemoveReaction
from parley.chat.domain.messages.threads import FollowThread, UnfollowThread
from parley.chat.domain.people.authority import ChangePermissions, ChangeRole
from parley.chat.domain.people.direct import OpenDirect
from parley.chat.domain.people.invites import CreateInvite, RevokeInvite
from parley.chat.domain.people.moderation import BanMember, MuteMember, RemoveMember, UnbanMember, UnmuteMember
from parley.chat.domain.room import ChatCommand, ChatEvent
from parley.chat.domain.rooms import ArchiveRoom, CreateRoom, UnarchiveRoom, UpdateRoom
from parley.chat.queries.rooms import RoomView, room_view
from parley.framework import Identity


@dataclass(frozen=True, slots=True)
class CommandRoute:
    """One command: its type (which has its name), its path over HTTP, a summary in a few words, and if it writes."""

    command: type[ChatCommand]
    path: str
    summary: str
    writes: bool = True
    """Whether it is refused to who may read only."""
    also: str = ""
    """Another path, for a command that says otherwise which room it is about."""


COMMANDS: tuple[CommandRoute, ...] = (
    CommandRoute(CreateRoom, "/rooms", "Create a room."),
    CommandRoute(JoinRoom, "/rooms/{room}/join", "Join a room.", also="/join"),
    CommandRoute(LeaveRoom, "/rooms/{room}/leave", "Leave a room, or decline an invitation."),
    CommandRoute(InviteUser, "/rooms/{room}/invite", "Let a user see and join a room."),
    CommandRoute(TransferRoom, "/rooms/{room}/transfer", "Give a room to another member; its owner may."),
    CommandRoute(UpdateRoom, "/rooms/{room}/update", "Change the name, the topic or the slow mode of a room."),
    CommandRoute(ArchiveRoom, "/rooms/{room}/archive", "Archive a room."),
    CommandRoute(SendMessage, "/rooms/{room}/messages", "Send a message."),
    CommandRoute(EditMessage, "/rooms/{room}/messages/{message}/edit", "Give a message another text; its author may."),
    CommandRoute(
        DeleteMessage, "/rooms/{room}/messages/{message}/delete", "Remove a message for good; its author may."
    ),
    CommandRoute(AddReaction, "/rooms/{room}/messages/{message}/react", "React to a message."),
    CommandRoute(RemoveReaction, "/rooms/{room}/messages/{message}/unreact", "Take a reaction back."),
    CommandRoute(PinMessage, "/rooms/{room}/messages/{message}/pin", "Pin a message."),
    CommandRoute(UnpinMessage, "/rooms/{room}/messages/{message}/unpin", "Pin a message no longer."),
    CommandRoute(FollowThread, "/rooms/{room}/threads/{thread}/follow", "Be told of replies in a thread."),
    CommandRoute(UnfollowThread, "/rooms/{room}/threads/{thread}/unfollow", "Not be told of them any more."),
    CommandRoute(OpenDirect, "/direct", "Find or make the room between oneself and a few users."),
    CommandRoute(UnarchiveRoom, "/rooms/{room}/unarchive", "Open an archived room again."),
    CommandRoute(RemoveMember, "/rooms/{room}/remove", "End a user's membership or invitation."),
    CommandRoute(BanMember, "/rooms/{room}/ban", "Remove a user, who may not come back for a while, or ever."),
    CommandRoute(UnbanMember, "/rooms/{room}/unban", "Let a banned user come back."),
    CommandRoute(MuteMember, "/rooms/{room}/mute", "Let a user read and not write, for a while or until unmuted."),
    CommandRoute(UnmuteMember, "/rooms/{room}/unmute", "Let a muted user write again."),
    CommandRoute(ChangeRole, "/rooms/{room}/role", "Make a member a moderator, or an ordinary one; the owner may."),
    CommandRoute(ChangePermissions, "/rooms/{room}/permissions", "Say who may do what; the owner may."),
    CommandRoute(CreateInvite, "/rooms/{room}/invites", "Make a link into a room."),
    CommandRoute(RevokeInvite, "/rooms/{room}/invites/revoke", "Void a link into a room."),
)

# Taken from the union, so that a new type of event cannot be forgotten in the documents.
EVENTS: tuple[type[EventData], ...] = get_args(ChatEvent)
"""The types of events that clients are sent: every type that a room may have."""


class CommandAck(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of a command: where its event is in the log, and the room if the command leads into one.

    Without `event_id` and `at`, nothing had to change. `code` is that of the link which was made.
    """

    sequence: int
    event_id: UUID | None = None
    at: Instant | None = None
    number: int | None = None
    room: RoomView | None = None
    code: str = ""


def ack(identity: Identity, accepted: Accepted) -> CommandAck:
    """Return what the sender of an accepted command is answered."""
    recorded = accepted.recorded
    return CommandAck(
        accepted.sequence,
        recorded.event_id if recorded is not None else None,
        recorded.recorded_at if recorded is not None else None,
        recorded.number if recorded is not None and recorded.type == MessageSent.TYPE else None,
        room_view(accepted.room, identity.user_id) if accepted.room is not None else None,
        accepted.code,
    )
