"""What writers do besides saying something: about messages, be they there by then or not, and about people."""

from __future__ import annotations

import random

from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.domain.messages.pins import PinMessage, UnpinMessage
from parley.chat.domain.messages.reactions import AddReaction, RemoveReaction
from parley.chat.domain.people.authority import ChangeRole
from parley.chat.domain.people.moderation import BanMember, MuteMember, RemoveMember, UnbanMember, UnmuteMember
from parley.chat.domain.room import ChatCommand

KINDS = ("edit", "react", "take back", "delete", "pin", "unpin", "reply")
OFTEN = (4, 6, 3, 1, 1, 1, 4)
"""How often each is done: oftener than people do, in so few commands."""
EMOJI = ("👍", "🎉")
RECENT = 8
"""Events of a room that are taken for messages: the newest."""


def amendment(rng: random.Random, command_id: str, room: str, head: int) -> ChatCommand:
    """Something about one of the newest messages of a room."""
    message = max(1, head - int(rng.random() * RECENT))
    match rng.choices(KINDS, OFTEN)[0]:
        case "edit":
            return EditMessage(command_id, room, message, f"edit {command_id}", rng.choice((1, 1, 2)))
        case "react":
            return AddReaction(command_id, room, message, rng.choice(EMOJI))
        case "take back":
            return RemoveReaction(command_id, room, message, rng.choice(EMOJI))
        case "delete":
            return DeleteMessage(command_id, room, message)
        case "pin":
            return PinMessage(command_id, room, message)
        case "unpin":
            return UnpinMessage(command_id, room, message)
        case _:
            return SendMessage(command_id, room, f"reply {command_id}", thread=message)


def measure(rng: random.Random, command_id: str, room: str, user: str, *, spared: bool) -> ChatCommand:
    """What owners and moderators do about somebody, and others try to; nothing but roles about who is spared."""
    if spared:
        return ChangeRole(command_id, room, user, rng.choice(("moderator", "member")))
    match rng.choices(("remove", "ban", "unban", "mute", "unmute"), (1, 1, 2, 1, 2))[0]:
        case "remove":
            return RemoveMember(command_id, room, user)
        case "ban":
            return BanMember(command_id, room, user, rng.choice((None, 1)))
        case "unban":
            return UnbanMember(command_id, room, user)
        case "mute":
            return MuteMember(command_id, room, user, rng.choice((None, 1)))
        case _:
            return UnmuteMember(command_id, room, user)
