"""The types of what clients name in commands, with the bounds that documents show."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

# Printable ASCII, so that ids are safe in logs, keys and URLs. Python's `$` alone would let a newline through at the
# end, and `\Z`, which would not, is unknown to the JSON Schema that documents show.
_TOKEN = r"^[\x21-\x7e]+(?!\n)$"

CommandId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_TOKEN)]
RoomId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_TOKEN)]
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Topic = Annotated[str, msgspec.Meta(max_length=250)]
Kind = Literal["public", "private"]


class ClientCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every command of a client has: an `id` of the client's own making, by which a resend is recognised.

    `NAME` is its event name on the wire. `SHOWS_ROOM` says whether its ack holds the room, `CHANGES_DECISIONS` whether
    any of its events changes what decisions read.
    """

    NAME: ClassVar[str]
    SHOWS_ROOM: ClassVar[bool] = False
    CHANGES_DECISIONS: ClassVar[bool] = True

    id: CommandId

    def validate(self, max_body: int) -> None:
        """Check what types cannot say. Raises `Reject`."""
