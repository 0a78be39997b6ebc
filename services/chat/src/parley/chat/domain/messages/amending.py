"""Editing and deleting messages.

An edit names the version that it replaces, so that of two people who edit at once the second one is told. A deletion is
final: the text of the message and of all its edits is removed from the log with the very same commit.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from parley.chat.domain.events import EventData, WhenErased
from parley.chat.domain.fields import ClientCommand, MessageSequence, RoomId
from parley.chat.domain.messages.targets import messages_of, require_message, require_present
from parley.chat.domain.permissions import Permission, require_may
from parley.chat.domain.state import DecisionContext, Room, require_member, require_open
from parley.common.errors import Code, Reject
from parley.common.wire.text import checked_text

MAX_VERSIONS = 1000
"""Versions of one message. Deleting it removes all of them in one transaction."""


class EditMessage(ClientCommand, frozen=True):
    """`message.edit`: its author gives a message another text. `version` is the one it replaces; the first is 1."""

    NAME: ClassVar[str] = "message.edit"
    CHANGES_DECISIONS: ClassVar[bool] = False

    room: RoomId
    message: MessageSequence
    body: Annotated[str, msgspec.Meta(min_length=1)]
    version: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]

    def validate(self, max_body: int) -> None:
        """Check the length of the text in bytes, and that it can be stored. Raises `Reject`."""
        if len(self.body) > max_body or len(checked_text(self.body)) > max_body:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"A message is at most {max_body} bytes of text.")


class DeleteMessage(ClientCommand, frozen=True):
    """`message.delete`: its author, or who may moderate, removes a message for good."""

    NAME: ClassVar[str] = "message.delete"
    CHANGES_DECISIONS: ClassVar[bool] = False

    room: RoomId
    message: MessageSequence
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that the reason can be stored. Raises `Reject`."""
        checked_text(self.reason)


class MessageEdited(EventData, frozen=True):
    """A message has another text from here on, which is its `version`. The mentions stay those of the first version.

    `previous` is the sequence of the edit that this one replaces; the first edit of a message has none. It is `flagged`
    as a message is.
    """

    TYPE: ClassVar[str] = "message.edited"
    NUMBER: ClassVar[int] = 20
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(message_text=True)

    message: int
    body: str
    version: int
    previous: int | None = None
    flagged: str | None = None


class MessageDeleted(EventData, frozen=True):
    """A message is gone, and with it its edits, its reactions and its pin. What replied to it stays."""

    TYPE: ClassVar[str] = "message.deleted"
    NUMBER: ClassVar[int] = 21
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(("message",), applied="if kept")

    message: int
    reason: str = ""


def decide_edit(command: EditMessage, room: Room | None, context: DecisionContext) -> list[MessageEdited]:
    """Replace the text, if the sender wrote the message and knows its present version. Raises `Reject`."""
    user_id = context.identity.user_id
    require_may(Permission.POST, require_open(room, user_id), context)
    target = require_present(context, command.message)
    if target.author != user_id:
        raise Reject(Code.FORBIDDEN, "Only its author may edit a message.")
    state = messages_of(context).state_of(command.message)
    if command.version != state.version:
        raise Reject(
            Code.CONFLICT,
            f"The message is in version {state.version} by now; look at it before you replace it.",
            data={"version": state.version},
        )
    if state.version >= MAX_VERSIONS:
        raise Reject(Code.LIMIT_EXCEEDED, f"A message has at most {MAX_VERSIONS} versions.")
    return [MessageEdited(command.message, command.body, state.version + 1, state.edited_in)]


def decide_delete(command: DeleteMessage, room: Room | None, context: DecisionContext) -> list[MessageDeleted]:
    """Delete the message. Raises `Reject`, also if it is deleted already."""
    user_id = context.identity.user_id
    room = require_open(room, user_id)
    require_member(room, user_id)
    target = require_message(context, command.message)
    if target.author != user_id:
        require_may(Permission.MODERATE, room, context)
    require_present(context, command.message)
    return [MessageDeleted(command.message, command.reason)]
