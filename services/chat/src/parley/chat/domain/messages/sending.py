"""Messages: sending them, as answers, in threads, with mentions, custom data, or a link to a message elsewhere."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from parley.chat.domain.attaching import Attachment, UploadIds, attached
from parley.chat.domain.custom_data import check_custom
from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.events import EventData, WhenErased
from parley.chat.domain.fields import ClientCommand, MessageData, MessageSequence, RoomId, UserId
from parley.chat.domain.messages.mentions import calls
from parley.chat.domain.messages.targets import require_root, target_of
from parley.chat.domain.messages.threads import ThreadFollowed, followers_of_reply
from parley.chat.domain.people.slow_mode import require_turn
from parley.chat.domain.permissions import Permission, require_may
from parley.chat.domain.state import DecisionContext, Needs, Room, require_open
from parley.common.errors import Code, Reject
from parley.common.wire.text import checked_text

MAX_MENTIONS = 50
"""Users whom one message mentions."""
MAX_DATA = 8 * 1024
"""Bytes of a message's custom data, as JSON."""


class MessageLink(msgspec.Struct, frozen=True):
    """A message in any room. Whoever follows the link sees what they may see there, and nothing of it is copied."""

    room: RoomId
    message: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]


class SendMessage(ClientCommand, frozen=True):
    """`message.send`: send a text, files, or both.

    `reply_to` is the sequence of the message that it answers, `thread` that of the message whose thread it goes into.
    `mentions` are ids of users; `mention_here` and `mention_all` say that the text calls `@here` or `@all`. `data` is
    the sender's own, and `forward` a link to the message that is passed on. `attachments` are ids of uploads.
    """

    NAME: ClassVar[str] = "message.send"
    CHANGES_DECISIONS: ClassVar[bool] = False

    room: RoomId
    body: str
    reply_to: MessageSequence | None = None
    thread: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    mentions: Annotated[tuple[UserId, ...], msgspec.Meta(max_length=MAX_MENTIONS)] = ()
    mention_here: bool = False
    mention_all: bool = False
    data: MessageData | None = None
    forward: MessageLink | None = None
    attachments: UploadIds = ()

    def validate(self, max_body: int) -> None:
        """Check the length of the text in bytes, and that all of it can be stored. Raises `Reject`."""
        if not self.body and not self.attachments and self.forward is None:
            raise Reject(Code.INVALID_PAYLOAD, "A message has a text, a file, or a message that is passed on.")
        # Characters are counted first: a text that is too long by them need not be encoded.
        if len(self.body) > max_body or len(checked_text(self.body)) > max_body:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"A message is at most {max_body} bytes of text.")
        for user_id in self.mentions:
            checked_text(user_id)
        for asked, whom in ((self.mention_here, "here"), (self.mention_all, "all")):
            if asked and not calls(self.body, whom):
                raise Reject(
                    Code.INVALID_PAYLOAD, f"mention_{whom} is for a text with @{whom} outside of code and quotes."
                )
        if self.data is not None:
            check_custom(self.data, MAX_DATA, "The data of a message")
        if self.forward is not None and room_key(self.forward.room) is None:
            raise Reject(Code.INVALID_PAYLOAD, "forward names a room by what cannot be a room's id.")


class MessageSent(EventData, frozen=True):
    """A member sent a message.

    `thread` is the message whose thread it belongs to. `mentions` are the ids of users as they were mentioned then. It
    is `flagged` if the screening service said that moderators should see it.
    """

    TYPE: ClassVar[str] = "message.sent"
    NUMBER: ClassVar[int] = 5
    IS_MESSAGE: ClassVar[bool] = True
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased(("thread",), message_text=True)

    body: str
    reply_to: int | None = None
    thread: int | None = None
    mentions: tuple[str, ...] = ()
    mention_here: bool = False
    mention_all: bool = False
    data: MessageData | None = None
    forward: MessageLink | None = None
    flagged: str | None = None
    attachments: tuple[Attachment, ...] = ()


PLAIN = Needs(posted=True, between=True)
"""What is needed to decide a message that names no other one: nothing, unless the room has slow mode."""


def send_needs(command: SendMessage) -> Needs:
    """Return what the decision reads besides the room and the sender's membership in it."""
    if command.reply_to is None and command.thread is None:
        return PLAIN._replace(uploads=command.attachments) if command.attachments else PLAIN
    named = {one: None for one in (command.reply_to, command.thread) if one is not None}
    followers = () if command.thread is None else command.mentions
    return PLAIN._replace(
        messages=tuple(named), thread=command.thread, followers=followers, uploads=command.attachments
    )


def decide_send(
    command: SendMessage, room: Room | None, context: DecisionContext
) -> list[MessageSent | ThreadFollowed]:
    """Send the message, if the sender may write in the room, and now. Raises `Reject`.

    A reply in a thread is followed by an event for everybody who follows the thread because of it.
    """
    room = require_open(room, context.identity.user_id)
    member = require_may(Permission.POST, room, context)
    require_turn(room, member, context)
    if command.mention_here or command.mention_all:
        require_may(Permission.MENTION_ALL, room, context)
    # Nearly all messages have no files. What is known without the locks has no uploads, so those with some take the
    # long way.
    files = attached(command.attachments, context.uploads) if command.attachments else ()
    sent = MessageSent(
        command.body, command.reply_to, command.thread, command.mentions and tuple(dict.fromkeys(command.mentions)),
        command.mention_here, command.mention_all, command.data, command.forward, attachments=files,
    )  # fmt: skip
    if command.reply_to is not None and target_of(context, command.reply_to) is None:
        raise Reject(Code.INVALID_PAYLOAD, "reply_to names no message of this room.")
    if command.thread is None:
        return [sent]
    require_root(context, command.thread)
    return [sent, *followers_of_reply(command.thread, sent.mentions, room, context)]
