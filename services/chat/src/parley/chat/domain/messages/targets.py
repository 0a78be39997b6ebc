"""Finding the message that a command is about, and refusing what is none. Pure."""

from __future__ import annotations

from parley.chat.domain.messages.known import RoomMessages, Target
from parley.chat.domain.state import DecisionContext
from parley.common.errors import Code, Reject


def messages_of(context: DecisionContext) -> RoomMessages:
    """Return what was loaded of the room's messages: nothing, if the decision is made without the room's lock."""
    # Without the lock nothing of messages is known, and what needs it was refused before.
    return RoomMessages() if context.messages is None else context.messages


def target_of(context: DecisionContext, sequence: int) -> Target | None:
    """Return the message with this sequence, if there is one."""
    return None if context.messages is None else context.messages.targets.get(sequence)


def require_message(context: DecisionContext, sequence: int) -> Target:
    """Return the message with this sequence. Raises `Reject(not_found)` for an event that is none, or no event."""
    if (target := target_of(context, sequence)) is None:
        raise Reject(Code.NOT_FOUND, "There is no such message in this room.")
    return target


def require_undeleted(context: DecisionContext, sequence: int) -> Target:
    """Return the message with this sequence, if nobody deleted it. Raises `Reject(not_found)`.

    One that was erased otherwise keeps its pin and its reactions, and these may be taken back.
    """
    target = require_message(context, sequence)
    if messages_of(context).state_of(sequence).deleted_in is not None:
        raise Reject(Code.NOT_FOUND, "This message was deleted.")
    return target


def require_present(context: DecisionContext, sequence: int) -> Target:
    """Return the message with this sequence, if its text is still there. Raises `Reject(not_found)`."""
    target = require_message(context, sequence)
    if target.erased:
        raise Reject(Code.NOT_FOUND, "This message was deleted.")
    return target


def require_root(context: DecisionContext, sequence: int) -> Target:
    """Return the message with this sequence, if it can have a thread. Raises `Reject(invalid_payload)`."""
    target = target_of(context, sequence)
    if target is None:
        raise Reject(Code.INVALID_PAYLOAD, "thread names no message of this room.")
    if target.thread is not None:
        raise Reject(Code.INVALID_PAYLOAD, "thread names a reply; a thread begins with a message that is none.")
    return target
