"""The types of a command's fields, with the bounds that the documents show, and the checks of texts."""

from __future__ import annotations

import unicodedata
from typing import Annotated, ClassVar, Literal

import msgspec

from parley.common.errors import Code, Reject

# Printable ASCII, so that ids are safe in logs, keys and URLs. The look-ahead is there because Python's `$` also
# matches before a newline at the end, and because the JSON Schema of the documents does not know `\Z`, which would not.
_TOKEN = r"^[\x21-\x7e]+(?!\n)$"

CommandId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_TOKEN)]
RoomId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_TOKEN)]
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Topic = Annotated[str, msgspec.Meta(max_length=250)]
Kind = Literal["public", "private"]

_JOINERS = "\u200c\u200d"
"""Invisible characters that are allowed: they join the parts of an emoji, and shape Persian and Indic words."""
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Characters that show nothing, although Unicode counts them as letters and symbols."""


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


def checked_text(text: str) -> bytes:
    """Return the text in UTF-8. Raises `Reject` for NUL and half a surrogate pair, which Postgres cannot store."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = b"\x00"
    if b"\x00" in encoded:
        raise Reject(Code.INVALID_PAYLOAD, "Text may not hold NUL or half of a surrogate pair.")
    return encoded


def check_line(text: str) -> None:
    """Refuse a text with line ends, control characters, or invisible characters. Raises `Reject`."""
    checked_text(text)
    # Control characters, line ends, marks of direction and characters without width make two names look alike.
    if any(unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} and char not in _JOINERS for char in text):
        raise Reject(Code.INVALID_PAYLOAD, "This text may not hold control characters or invisible ones.")


def check_name(name: str) -> None:
    """Refuse a name that nobody can see or tell from another one. Raises `Reject`."""
    check_line(name)
    if not any(unicodedata.category(char)[0] not in "ZCM" and char not in _BLANKS for char in name):
        raise Reject(Code.INVALID_PAYLOAD, "A name needs something that can be seen.")
