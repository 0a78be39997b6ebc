"""Which text is taken from people: what can be stored, what stays within a line, and what reads as a name. Pure."""

from __future__ import annotations

import unicodedata

from parley.common.errors import Code, Reject

NO_TEXT = "Text may not hold NUL or half of a surrogate pair."
_JOINERS = "\u200c\u200d"
"""They are invisible, but join the signs of an emoji and shape Persian and Indic words."""
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs by their category that show nothing."""


def checked_text(text: str) -> bytes:
    """The text in UTF-8. Postgres stores neither NUL nor half of a surrogate pair, and no person has typed them.

    Raises `Reject` for these.
    """
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        # Refused below, in the same words.
        encoded = b"\x00"
    if b"\x00" in encoded:
        raise Reject(Code.INVALID_PAYLOAD, NO_TEXT)
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
    # Z are blanks, C is invisible, and M are marks, which show something only on a letter before them.
    if not any(unicodedata.category(char)[0] not in "ZCM" and char not in _BLANKS for char in name):
        raise Reject(Code.INVALID_PAYLOAD, "A name needs something that can be seen.")
