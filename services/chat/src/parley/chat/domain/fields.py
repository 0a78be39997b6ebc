"""The types of a command's fields, with the bounds that the documents show."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

# Printable ASCII, so that ids are safe in logs, keys and URLs. The look-ahead is there because Python's `$` also
# matches before a newline at the end, and because the JSON Schema of the documents does not know `\Z`, which would not.
_TOKEN = r"^[\x21-\x7e]+(?!\n)$"

CommandId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_TOKEN)]
RoomId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_TOKEN)]
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
InviteCode = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_TOKEN)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Topic = Annotated[str, msgspec.Meta(max_length=250)]
Kind = Literal["public", "private"]
MessageSequence = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
"""The sequence of a message's `message.sent`, by which other commands name it."""
MessageData = dict[str, Any]
"""What an application keeps with a message: a JSON object."""
RoomKind = Literal["public", "private", "direct"]
Reason = Annotated[str, msgspec.Meta(max_length=500)]


class ClientCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every command of a client has: an `id` that the client makes up, by which a resend is recognised.

    `NAME` is the command's event name on the wire. `SHOWS_ROOM` says whether its ack contains the room.
    `CHANGES_DECISIONS` says whether any of its events changes what decisions read.
    """

    NAME: ClassVar[str]
    SHOWS_ROOM: ClassVar[bool] = False
    CHANGES_DECISIONS: ClassVar[bool] = True

    id: CommandId

    def validate(self, max_body: int) -> None:
        """Check what the types of the fields cannot say. Raises `Reject`.

        `max_body` is the limit of a message in bytes.
        """
