"""What somebody searches for, read from the text that they typed, pure.

    deploy "blue green" in:r4qk… from:u_ann before:2026-02-01 after:2026-01-01 has:link

Words that stand apart may stand anywhere in the message, in any order. What is in quotes, and what has no space in it,
stands side by side. Whatever the index finds is compared with the message's text by `Wanted.matches`.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from parley.chat.search.terms import contains, from_term, has_link, has_term, needed_terms, units
from parley.common.errors import Code, Reject
from parley.common.wire.text import checked_text

MAX_QUERY = 500
"""Characters of a query."""
MAX_TERMS = 24
"""Different terms of a query: each is looked up, in each part of the index."""
HAS = ("link", "file")
"""What a message may be asked to have."""

_PARTS = re.compile(r"""(?:(?P<name>in|from|before|after|has):)?(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s"]+))""")


class Wanted(NamedTuple):
    """What is searched for. `phrases` are lists of units, `since` is inclusive and `until` is not."""

    phrases: list[list[str]]
    room: str | None
    author: str | None
    has: tuple[str, ...]
    since: datetime | None
    until: datetime | None

    @property
    def terms(self) -> list[str]:
        """The terms that each message has which is found."""
        found = [term for phrase in self.phrases for term in needed_terms(phrase)]
        found += [from_term(self.author)] if self.author is not None else []
        return list(dict.fromkeys((*found, *map(has_term, self.has))))

    def matches(self, actor_id: str, data: dict[str, Any]) -> bool:
        """Return whether a message of this user, with these data, is what is searched for."""
        body: str = data.get("body", "")
        if self.author is not None and actor_id != self.author:
            return False
        if ("link" in self.has and not has_link(body)) or ("file" in self.has and not data.get("attachments")):
            return False
        text = units(body)
        return all(contains(text, phrase) for phrase in self.phrases)


def parse(query: str, user_id: str) -> Wanted:
    """Read what a user typed; `from:me` is that user. Raises `Reject(invalid_payload)`."""
    checked_text(query)
    if len(query) > MAX_QUERY:
        raise Reject(Code.INVALID_PAYLOAD, f"A search is at most {MAX_QUERY} characters.")
    phrases: list[list[str]] = []
    filters: dict[str, str] = {}
    has: list[str] = []
    for part in _PARTS.finditer(query):
        name, text = part["name"], part["quoted"] if part["quoted"] is not None else part["plain"]
        if name is None:
            if found := units(text):
                phrases.append(found)
        elif name == "has":
            has.append(_known(text))
        elif filters.setdefault(name, text) != text:
            raise Reject(Code.INVALID_PAYLOAD, f"A search has {name}: once.")
    author = user_id if filters.get("from") == "me" else filters.get("from")
    since = _day(filters["after"]) + timedelta(days=1) if "after" in filters else None
    until = _day(filters["before"]) if "before" in filters else None
    wanted = Wanted(phrases, filters.get("in"), author, tuple(dict.fromkeys(has)), since, until)
    if not (terms := wanted.terms):
        raise Reject(Code.INVALID_PAYLOAD, "A search has a word, or from: or has:.")
    if len(terms) > MAX_TERMS:
        raise Reject(Code.INVALID_PAYLOAD, f"A search has at most {MAX_TERMS} different words.")
    return wanted


def _known(what: str) -> str:
    if what not in HAS:
        raise Reject(Code.INVALID_PAYLOAD, f"has: takes {' or '.join(HAS)}.")
    return what


def _day(text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    # The day after it has to exist as well, for `after:`.
    if not date.min < day < date(9999, 1, 1):
        raise Reject(Code.INVALID_PAYLOAD, "before: and after: take a day, as 2026-01-31.")
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
