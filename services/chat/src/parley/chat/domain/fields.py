"""The types of what clients name in commands, with the bounds that documents show; and which text is accepted."""

from __future__ import annotations

import unicodedata
from typing import Annotated, ClassVar, Literal

import msgspec

from parley.common.errors import Code, Reject

# Printable ASCII, so that ids are safe in logs, keys and URLs. Python's `$` alone would let a newline through at the
# end, and `\Z`, which would not, is unknown to the JSON Schema that documents show.
_TOKEN = r"^[\x21-\x7e]+(?!\n)$"

CommandId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_TOKEN)]
RoomId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_TOKEN)]
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Topic = Annotated[str, msgspec.Meta(max_length=250)]
Kind = Literal["public", "private"]

_JOINERS = "\u200c\u200d"
"""They are invisible, but join the signs of an emoji and shape Persian and Indic words."""
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs by their category that show nothing."""


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


def checked_text(text: str) -> bytes:
    """The text in UTF-8. Postgres stores neither NUL nor half of a surrogate pair, and no person has typed them.

    Raises `Reject` for these.
    """
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = b"\x00"
    if b"\x00" in encoded:
        raise Reject(Code.INVALID_PAYLOAD, "Text may not hold NUL or half of a surrogate pair.")
    return encoded


def check_line(text: str) -> None:
    """Refuse text that does not stay within its line, or shows other than it is. Raises `Reject`."""
    checked_text(text)
    # Control characters, line ends, marks of direction and what has no width make two names look alike.
    if any(unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} and char not in _JOINERS for char in text):
        raise Reject(Code.INVALID_PAYLOAD, "This text may not hold control characters or invisible ones.")


def check_name(name: str) -> None:
    """Refuse a name that reads as another one, or as none. Raises `Reject`."""
    check_line(name)
    if not any(unicodedata.category(char)[0] not in "ZCM" and char not in _BLANKS for char in name):
        raise Reject(Code.INVALID_PAYLOAD, "A name needs something that can be seen.")
