"""Commands about messages: what each needs, and which events it leads to. It only finds the feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from parley.chat.domain.messages.amending import (
    DeleteMessage,
    EditMessage,
    MessageDeleted,
    MessageEdited,
    decide_delete,
    decide_edit,
)
from parley.chat.domain.messages.pins import MessagePinned, MessageUnpinned, PinMessage, UnpinMessage, decide_pin
from parley.chat.domain.messages.reactions import (
    AddReaction,
    ReactionAdded,
    ReactionRemoved,
    RemoveReaction,
    decide_reaction,
    normalized_emoji,
)
from parley.chat.domain.messages.sending import MessageSent, SendMessage, decide_send, send_needs
from parley.chat.domain.messages.targets import messages_of
from parley.chat.domain.messages.threads import (
    FollowThread,
    ThreadFollowed,
    ThreadUnfollowed,
    UnfollowThread,
    decide_follow,
)
from parley.chat.domain.state import DecisionContext, Needs, Room

MessageCommand = (
    SendMessage | EditMessage | DeleteMessage | AddReaction | RemoveReaction | PinMessage | UnpinMessage
    | FollowThread | UnfollowThread
)  # fmt: skip
AmendingEvent = (
    MessageEdited | MessageDeleted | ReactionAdded | ReactionRemoved | MessagePinned | MessageUnpinned
    | ThreadFollowed | ThreadUnfollowed
)  # fmt: skip
"""The events that only say what became of earlier messages."""
MessageEvent = MessageSent | AmendingEvent


def message_needs(command: MessageCommand) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    match command:
        case SendMessage():
            return send_needs(command)
        case EditMessage():
            return Needs(messages=(command.message,), between=True)
        case DeleteMessage():
            return Needs(messages=(command.message,))
        case AddReaction():
            return Needs(messages=(command.message,), reactions=True, between=True)
        case PinMessage():
            return Needs(messages=(command.message,), pins=True, between=True)
        case FollowThread():
            return Needs(messages=(command.thread,), thread=command.thread)
        case _:
            assert_never(command)


def decide_message(command: MessageCommand, room: Room | None, context: DecisionContext) -> Sequence[MessageEvent]:
    """Decide a command about messages. Raises `Reject`."""
    match command:
        case SendMessage():
            return decide_send(command, room, context)
        case EditMessage():
            return decide_edit(command, room, context)
        case DeleteMessage():
            return decide_delete(command, room, context)
        case AddReaction():
            return decide_reaction(command, room, context)
        case PinMessage():
            return decide_pin(command, room, context)
        case FollowThread():
            return decide_follow(command, room, context)
        case _:
            assert_never(command)


def message_when_done(command: MessageCommand, context: DecisionContext) -> int | None:
    """Return the sequence of the event that made it so what a command without events wants; None where none says."""
    known = messages_of(context)
    match command:
        case AddReaction():
            emoji = normalized_emoji(command.emoji)
            found = known.reaction(command.message, context.identity.user_id, emoji)
            return None if found is None else found.added_in
        case PinMessage():
            return known.state_of(command.message).pinned_in
        case FollowThread():
            found = known.following.get((command.thread, context.identity.user_id))
            return None if found is None else found.since
        case _:
            return None
