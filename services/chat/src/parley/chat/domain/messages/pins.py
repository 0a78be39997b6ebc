"""Pinning messages, so that everybody in a room finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from parley.chat.domain.events import EventData, WhenErased
from parley.chat.domain.fields import ClientCommand, MessageSequence, RoomId
from parley.chat.domain.messages.targets import messages_of, require_present, require_undeleted
from parley.chat.domain.permissions import Permission, require_may
from parley.chat.domain.state import DecisionContext, Room, require_open
from parley.common.errors import Code, Reject

MAX_PINS = 100
"""Pinned messages of one room."""


class PinMessage(ClientCommand, frozen=True):
    """`message.pin`: pin a message."""

    NAME: ClassVar[str] = "message.pin"
    CHANGES_DECISIONS: ClassVar[bool] = False

    room: RoomId
    message: MessageSequence


class UnpinMessage(PinMessage, frozen=True):
    """`message.unpin`: pin a message no longer."""

    NAME: ClassVar[str] = "message.unpin"


class MessagePinned(EventData, frozen=True):
    """A message is pinned from here on."""

    TYPE: ClassVar[str] = "message.pinned"
    NUMBER: ClassVar[int] = 24
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(("message",), applied="if kept")

    message: int


class MessageUnpinned(EventData, frozen=True):
    """A message is pinned no longer."""

    TYPE: ClassVar[str] = "message.unpinned"
    NUMBER: ClassVar[int] = 25
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(("message",), applied="if kept")

    message: int


def decide_pin(
    command: PinMessage, room: Room | None, context: DecisionContext
) -> Sequence[MessagePinned | MessageUnpinned]:
    """Pin the message or not, as the command says; no event if it is so already. Raises `Reject`."""
    require_may(Permission.PIN, require_open(room, context.identity.user_id), context)
    removes = isinstance(command, UnpinMessage)
    # What was erased may still be unpinned, or the pin would stand for ever.
    (require_undeleted if removes else require_present)(context, command.message)
    known = messages_of(context)
    if (known.state_of(command.message).pinned_in is not None) != removes:
        return []
    if removes:
        return [MessageUnpinned(command.message)]
    if known.pins >= MAX_PINS:
        raise Reject(Code.LIMIT_EXCEEDED, f"A room has at most {MAX_PINS} pinned messages.")
    return [MessagePinned(command.message)]
