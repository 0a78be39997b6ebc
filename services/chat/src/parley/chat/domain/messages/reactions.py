"""Reactions to messages: an emoji, or a short text such as `:party:`, once per message, user and emoji."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from parley.chat.domain.events import EventData, WhenErased
from parley.chat.domain.fields import ClientCommand, MessageSequence, RoomId
from parley.chat.domain.messages.targets import messages_of, require_present, require_undeleted
from parley.chat.domain.permissions import Permission, require_may
from parley.chat.domain.state import DecisionContext, Room, require_member, require_open
from parley.common.errors import Code, Reject
from parley.common.wire.text import check_name

MAX_KINDS = 20
"""Different emoji on one message."""
MAX_EMOJI = 64
"""Bytes of an emoji. The longest ones, people who hold hands, take about forty."""
_TAGS = range(0xE0020, 0xE0080)
"""Invisible characters that spell the region of a flag after the black flag."""


class AddReaction(ClientCommand, frozen=True):
    """`reaction.add`: react to a message."""

    NAME: ClassVar[str] = "reaction.add"
    CHANGES_DECISIONS: ClassVar[bool] = False

    room: RoomId
    message: MessageSequence
    emoji: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_EMOJI)]

    def validate(self, max_body: int) -> None:  # noqa: ARG002 - of messages alone
        """Check that the emoji can be seen, and is short. Raises `Reject`."""
        normalized_emoji(self.emoji)


class RemoveReaction(AddReaction, frozen=True):
    """`reaction.remove`: take a reaction of one's own back."""

    NAME: ClassVar[str] = "reaction.remove"


class ReactionAdded(EventData, frozen=True):
    """The actor reacts to a message with an emoji, which is in Unicode's normal form C."""

    TYPE: ClassVar[str] = "reaction.added"
    NUMBER: ClassVar[int] = 22
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased()

    message: int
    emoji: str


class ReactionRemoved(EventData, frozen=True):
    """The actor does not react to a message with this emoji any more."""

    TYPE: ClassVar[str] = "reaction.removed"
    NUMBER: ClassVar[int] = 23
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased()

    message: int
    emoji: str


def normalized_emoji(emoji: str) -> str:
    """Return the one spelling of an emoji. Raises `Reject` for what cannot be seen, has blanks in it, or is long."""
    normal = unicodedata.normalize("NFC", emoji)
    # Tags are invisible on purpose, and only ever behind a sign that is seen.
    check_name("".join(char for char in normal if ord(char) not in _TAGS) or " ")
    if any(char.isspace() for char in normal):
        raise Reject(Code.INVALID_PAYLOAD, "An emoji has no blanks in it.")
    if len(normal.encode()) > MAX_EMOJI:
        raise Reject(Code.INVALID_PAYLOAD, f"An emoji is at most {MAX_EMOJI} bytes in UTF-8.")
    return normal


def decide_reaction(
    command: AddReaction, room: Room | None, context: DecisionContext
) -> Sequence[ReactionAdded | ReactionRemoved]:
    """Add or remove the sender's reaction; no event if it is so already. Raises `Reject`."""
    user_id = context.identity.user_id
    room, removes = require_open(room, user_id), isinstance(command, RemoveReaction)
    if removes:
        # What one said oneself may always be taken back, as one's own messages may be deleted.
        require_member(room, user_id)
    else:
        require_may(Permission.REACT, room, context)
    known, emoji = messages_of(context), normalized_emoji(command.emoji)
    (require_undeleted if removes else require_present)(context, command.message)
    if (known.reaction(command.message, user_id, emoji) is not None) != removes:
        return []
    if removes:
        return [ReactionRemoved(command.message, emoji)]
    kinds = known.state_of(command.message).reactions
    if emoji not in kinds and len(kinds) >= MAX_KINDS:
        raise Reject(Code.LIMIT_EXCEEDED, f"A message has at most {MAX_KINDS} different reactions.")
    return [ReactionAdded(command.message, emoji)]
