"""Usernames and display names: which are one and the same, and which only look so. Pure.

A username is ASCII. Its key is what makes it unique, whatever the database's collation takes for a letter's other case.
Its skeletons (Unicode Technical Standard 39) are what it looks like as it was written and in small letters: `paypa1`
and `paypaI` look like `paypal`. Display names may be of any script, but a word of one script alone, and may not look
like the username of somebody else.
"""

from __future__ import annotations

import unicodedata
from importlib import resources

from parley.common.errors import Code, Reject
from parley.common.wire.text import check_name

MAX_DISPLAY_NAME = 100
_ASCII = {"I": "l", "1": "l", "|": "l", "0": "O", "m": "rn"}
"""What ASCII characters look like; the others like themselves."""
_TOGETHER = {
    "CJK": "EAST ASIAN",
    "IDEOGRAPHIC": "EAST ASIAN",
    "HANGUL": "EAST ASIAN",
    "HIRAGANA": "EAST ASIAN",
    "KATAKANA": "EAST ASIAN",
    "KATAKANA-HIRAGANA": "EAST ASIAN",
    "BOPOMOFO": "EAST ASIAN",
}
"""Scripts that are written in one word."""
_ANY_SCRIPT = {"MODIFIER", "FEMININE", "MASCULINE"}


def _read_confusables() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in resources.files("parley.auth").joinpath("confusables.txt").read_text("utf-8").splitlines():
        shown, *codes = line.split(" ")
        if shown != "#":
            found |= {chr(int(code, 16)): shown for code in codes}
    return found


_CONFUSABLES = _read_confusables()


def username_key(username: str) -> str:
    """Return what makes a username the same as another: its case does not."""
    # NFKC first: mathematical letters and their like have no case until they are plain ones.
    return unicodedata.normalize("NFKC", username).casefold()


def skeleton(text: str) -> str:
    """Return what a text looks like; two that look alike have the same."""
    plain = "".join(_CONFUSABLES.get(character, character) for character in unicodedata.normalize("NFKC", text))
    # ASCII comes second: what the table makes of other characters is ASCII, some of which looks alike as well.
    return "".join(_ASCII.get(character, character) for character in plain)


def skeletons(name: str) -> list[str]:
    """Return what a name looks like, as it is written and in small letters."""
    return sorted({skeleton(name), skeleton(username_key(name))})


def check_display_name(name: str) -> None:
    """Refuse a name that shows other than it is: by the rules of rooms' names, and for words of several scripts.

    Raises `Reject(invalid_payload)`.
    """
    check_name(name)
    scripts: set[str] = set()
    # The blank ends the last word, so that it is looked at like the others.
    for character in f"{unicodedata.normalize('NFKC', name)} ":
        if not unicodedata.category(character).startswith(("L", "M", "N")):
            scripts.clear()
        elif unicodedata.category(character).startswith("L"):
            script = unicodedata.name(character, "").partition(" ")[0]
            if script not in _ANY_SCRIPT:
                scripts.add(_TOGETHER.get(script, script))
        if len(scripts) > 1:
            raise Reject(Code.INVALID_PAYLOAD, "A word of a name is of one script.")
