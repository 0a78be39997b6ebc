"""Messages: sending them."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from parley.chat.domain.events import EventData
from parley.chat.domain.fields import ClientCommand, RoomId
from parley.chat.domain.people.slow_mode import require_turn
from parley.chat.domain.permissions import Permission, require_may
from parley.chat.domain.state import DecisionContext, Room, require_open
from parley.common.errors import Code, Reject
from parley.common.wire.text import checked_text


class SendMessage(ClientCommand, frozen=True):
    """`message.send`: send a text. `reply_to` is the sequence of the message that it answers."""

    NAME: ClassVar[str] = "message.send"
    CHANGES_DECISIONS: ClassVar[bool] = False

    room: RoomId
    body: Annotated[str, msgspec.Meta(min_length=1)]
    reply_to: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def validate(self, max_body: int) -> None:
        """Check the length of the text in bytes, and that it can be stored. Raises `Reject`."""
        # Characters are counted first: a text that is too long by them need not be encoded.
        if len(self.body) > max_body or len(checked_text(self.body)) > max_body:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"A message is at most {max_body} bytes of text.")


class MessageSent(EventData, frozen=True):
    """A member sent a message. It is `flagged` if the screening service said that moderators should see it."""

    TYPE: ClassVar[str] = "message.sent"
    NUMBER: ClassVar[int] = 5
    IS_MESSAGE: ClassVar[bool] = True
    CHANGES_DECISIONS: ClassVar[bool] = False

    body: str
    reply_to: int | None = None
    flagged: str | None = None


MessageCommand = SendMessage
MessageEvent = MessageSent


def decide_message(command: MessageCommand, room: Room | None, context: DecisionContext) -> list[MessageEvent]:
    """Send the message, if the sender may write in the room, and now. Raises `Reject`."""
    room = require_open(room, context.identity.user_id)
    member = require_may(Permission.POST, room, context)
    require_turn(room, member, context)
    if (command.reply_to or 0) > room.head:
        raise Reject(Code.INVALID_PAYLOAD, "reply_to names an event the room does not have.")
    return [MessageSent(command.body, command.reply_to)]
