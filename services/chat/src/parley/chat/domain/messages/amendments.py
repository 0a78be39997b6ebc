"""What events make of a room's messages, pure: one function for the writer, a rebuild, a verification and an import."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never, get_args

import msgspec

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.events import NamedUser
from parley.chat.domain.messages.amending import MessageDeleted, MessageEdited
from parley.chat.domain.messages.decisions import AmendingEvent, MessageEvent
from parley.chat.domain.messages.known import Following, MessageState, Reaction, RoomMessages, Target
from parley.chat.domain.messages.pins import MessagePinned, MessageUnpinned
from parley.chat.domain.messages.reactions import ReactionAdded, ReactionRemoved
from parley.chat.domain.messages.sending import MessageSent
from parley.chat.domain.messages.threads import ThreadFollowed, ThreadUnfollowed

AMENDING_TYPES = frozenset(kind.TYPE for kind in get_args(AmendingEvent))
"""The types of events that only say what became of earlier messages. A page of messages leaves them out."""


def amend(messages: RoomMessages, event: MessageEvent, sequence: int, actor: NamedUser, at: datetime) -> None:
    """Apply an event to a room's messages, in place."""
    match event:
        case MessageSent():
            messages.targets[sequence] = Target(actor.id, event.thread)
            if event.thread is not None:
                _reply(messages, event.thread, sequence, at)
        case MessageEdited():
            state = _state(messages, event.message)
            state.version, state.edited_in, state.edited_at = event.version, sequence, at
        case MessageDeleted():
            _delete(messages, event.message, sequence)
        case ReactionAdded():
            of_message = messages.reactions.setdefault(event.message, {})
            of_message[actor.id, event.emoji] = Reaction(sequence, actor.name or actor.id)
            messages.touched.reactions[event.message, actor.id, event.emoji] = None
            kinds = _state(messages, event.message).reactions
            kinds[event.emoji] = kinds.get(event.emoji, 0) + 1
        case ReactionRemoved():
            _take_back(messages, event, actor.id)
        case MessagePinned():
            _state(messages, event.message).pinned_in = sequence
            messages.pins += 1
        case MessageUnpinned():
            _state(messages, event.message).pinned_in = None
            messages.pins -= 1
        case ThreadFollowed() | ThreadUnfollowed():
            follows = isinstance(event, ThreadFollowed)
            messages.following[event.thread, event.user.id] = Following(follows, sequence)
            messages.touched.following[event.thread, event.user.id] = None
        case _:
            assert_never(event)


def amend_recorded(messages: RoomMessages, recorded: Recorded) -> None:
    """Apply a row of the log, erased or not. Events that are about no message change nothing."""
    if recorded.type not in AMENDING_TYPES and recorded.type != MessageSent.TYPE:
        return
    if recorded.erased and recorded.type == MessageSent.TYPE:
        # An erased reply stays a reply: its thread would otherwise have one less than it had.
        thread: int | None = msgspec.json.decode(recorded.data).get("thread")
        messages.targets[recorded.sequence] = Target(recorded.actor_id, thread, erased=True)
        if thread is not None:
            _reply(messages, thread, recorded.sequence, recorded.recorded_at)
    # What who is erased edited, or reacted with, went with them.
    elif recorded.applies and isinstance(event := recorded.event(), MessageEvent):
        actor = NamedUser(recorded.actor_id, recorded.actor_name)
        amend(messages, event, recorded.sequence, actor, recorded.recorded_at)


def _state(messages: RoomMessages, message: int) -> MessageState:
    messages.touched.messages[message] = None
    if message not in messages.states:
        messages.states[message] = MessageState()
    return messages.states[message]


def _reply(messages: RoomMessages, thread: int, sequence: int, at: datetime) -> None:
    state = _state(messages, thread)
    state.replies += 1
    state.last_reply, state.last_reply_at = sequence, at
    messages.replies[thread, sequence] = None
    messages.touched.replies[thread, sequence] = None


def _delete(messages: RoomMessages, message: int, sequence: int) -> None:
    """Nothing of a deleted message stays but that it was deleted, and its thread."""
    before = _state(messages, message)
    messages.touched.deleted[message] = before.edited_in
    messages.pins -= before.pinned_in is not None
    messages.states[message] = MessageState(
        deleted_in=sequence, replies=before.replies, last_reply=before.last_reply, last_reply_at=before.last_reply_at
    )
    for user_id, emoji in messages.reactions.pop(message, {}):
        messages.touched.reactions.pop((message, user_id, emoji), None)
    if (target := messages.targets.get(message)) is not None:
        messages.targets[message] = target._replace(erased=True)


def _take_back(messages: RoomMessages, event: ReactionRemoved, user_id: str) -> None:
    # One that is not there was erased.
    if messages.reactions.get(event.message, {}).pop((user_id, event.emoji), None) is None:
        return
    messages.touched.reactions[event.message, user_id, event.emoji] = None
    kinds = _state(messages, event.message).reactions
    if left := kinds[event.emoji] - 1:
        kinds[event.emoji] = left
    else:
        del kinds[event.emoji]
