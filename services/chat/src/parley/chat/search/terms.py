"""Which terms a text is found by, pure. The index and the queries use this one function.

A text is folded (compatibility forms, case, accents) and cut into *units*: a word, or one sign of a script that writes
no spaces between words. Its *terms* are the words, each of these signs, and each two of them that stand side by side,
so that a query of two signs or of one finds what it should without a dictionary.

What is stored of a term is a number of 64 bits. Different terms may have one number, so whatever the index finds is
compared with the text.

A change of what a text's terms are is a new `SEARCH_VERSION`: its index is then made anew beside the service.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b

SEARCH_VERSION = 1
MOST_TERMS = 4_000
"""Different terms by which one text is found; what a longer text has besides is not found."""

_SPACELESS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
    "\uac00-\ud7af"  # Korean: its words have endings, so parts of them are looked for as well
)
_UNITS = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}](?:[^\W_{_SPACELESS}]|[\u0900-\u0dff])*|[\u0900-\u0dff]+")
"""A sign of a spaceless script, or a word. Vowel signs of Indic scripts are no letters to `re`, and belong to words."""
_ASCII_WORDS = re.compile("[a-z0-9]+")
"""The same in a folded text of ASCII, of which it takes a third of the time."""
_SIGN = re.compile(rf"[{_SPACELESS}]")
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670\u00ad\u200b-\u200f\u2060\ufeff]")
"""Accents, vowel signs of Hebrew and Arabic, and what is not seen: nobody looks for a word by these."""
# What has no decomposition, and is written without by whoever lacks the key.
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "\u0131": "i", "ð": "d", "þ": "th"})


def folded(text: str) -> str:
    """Return a text as it is compared: `Á`, `a` and the wide `A` of East Asia are one."""
    if text.isascii():
        return text.lower()  # the same, in a hundredth of the time
    lowered = unicodedata.normalize("NFKC", text).casefold()
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", lowered)).translate(_PLAIN)
    # Composed again: Korean syllables were taken apart, and it is syllables that are looked for.
    return unicodedata.normalize("NFKC", plain)


def units(text: str) -> list[str]:
    """Return the words of a text and its signs of spaceless scripts, folded and in order."""
    return _ASCII_WORDS.findall(text.lower()) if text.isascii() else _UNITS.findall(folded(text))


def terms_of(found: list[str]) -> list[str]:
    """Return the terms of these units, each once: at most `MOST_TERMS`, those of the text's beginning."""
    terms: dict[str, None] = {}
    before = ""
    for unit in found:
        sign = unit if _SIGN.match(unit) else ""
        terms[unit] = None
        if before and sign:
            terms[before + sign] = None
        before = sign
        if len(terms) >= MOST_TERMS:
            break
    return list(terms)[:MOST_TERMS]


def needed_terms(phrase: list[str]) -> list[str]:
    """Return the terms that a text with this phrase must have: pairs of signs instead of their single ones."""
    terms = terms_of(phrase)
    paired = {sign for term in terms if len(term) == 2 and _SIGN.match(term) for sign in term}
    return [term for term in terms if not (len(term) == 1 and term in paired)]


def contains(text: list[str], phrase: list[str]) -> bool:
    """Return whether these units stand side by side in a text's units."""
    # No unit has a space in it, so that a search in one string, which takes a moment for any text, is exact.
    return f" {' '.join(phrase)} " in f" {' '.join(text)} "


@lru_cache(maxsize=65_536)
def number_of(term: str) -> int:
    """Return the number of a term, a signed one of 64 bits."""
    digest = blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8, salt=b"%d" % SEARCH_VERSION).digest()
    return int.from_bytes(digest, "big", signed=True)


# Terms that no text has: a unit begins with neither a colon nor a space.
def from_term(user_id: str) -> str:
    """Return the term of all messages of a user."""
    return f":from {user_id}"


def room_term(room_id: int) -> str:
    """Return the term of all messages of a public room; a private room has an index of its own."""
    return f":in {room_id}"


def has_term(what: str) -> str:
    """Return the term of messages that have something: see `parsed_query.HAS`."""
    return f":has {what}"


_LINK = re.compile(r"https?://[^\s<>]", re.IGNORECASE)


def has_link(text: str) -> bool:
    """Return whether a text has a link in it."""
    return _LINK.search(text) is not None
