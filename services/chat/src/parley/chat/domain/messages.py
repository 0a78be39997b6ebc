"""Messages: sending them."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from parley.chat.domain.attaching import Attachment, UploadIds, attached
from parley.chat.domain.events import EventData
from parley.chat.domain.fields import ClientCommand, RoomId
from parley.chat.domain.state import DecisionContext, Room, require_member, require_open
from parley.common.errors import Code, Reject
from parley.common.wire.text import checked_text


class SendMessage(ClientCommand, frozen=True):
    """`message.send`: send a text, files, or both. `reply_to` is the sequence of the message that it answers."""

    NAME: ClassVar[str] = "message.send"
    CHANGES_DECISIONS: ClassVar[bool] = False

    room: RoomId
    body: str
    reply_to: Annotated[int, msgspec.Meta(ge=1)] | None = None
    attachments: UploadIds = ()

    def validate(self, max_body: int) -> None:
        """Check the length of the text in bytes, and that it can be stored. Raises `Reject`."""
        if not self.body and not self.attachments:
            raise Reject(Code.INVALID_PAYLOAD, "A message has a text or a file.")
        # Characters are counted first: a text that is too long by them need not be encoded.
        if len(self.body) > max_body or len(checked_text(self.body)) > max_body:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"A message is at most {max_body} bytes of text.")


class MessageSent(EventData, frozen=True):
    """A member sent a message."""

    TYPE: ClassVar[str] = "message.sent"
    NUMBER: ClassVar[int] = 5
    IS_MESSAGE: ClassVar[bool] = True
    CHANGES_DECISIONS: ClassVar[bool] = False

    body: str
    reply_to: int | None = None
    attachments: tuple[Attachment, ...] = ()


MessageCommand = SendMessage
MessageEvent = MessageSent


def decide_message(command: MessageCommand, room: Room | None, context: DecisionContext) -> list[MessageEvent]:
    """Send the message, if the sender is a member of the room. Raises `Reject`."""
    room = require_open(room, context.identity.user_id)
    require_member(room, context.identity.user_id)
    if (command.reply_to or 0) > room.head:
        raise Reject(Code.INVALID_PAYLOAD, "reply_to names an event the room does not have.")
    # Nearly all messages have none. What is known without the locks has no uploads, so those with some take the long
    # way.
    files = attached(command.attachments, context.uploads) if command.attachments else ()
    return [MessageSent(command.body, command.reply_to, files)]
