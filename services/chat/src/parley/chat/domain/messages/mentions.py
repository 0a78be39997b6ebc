"""Where a text speaks to somebody: outside of code and of quotes. Pure."""

from __future__ import annotations

import re

# A fence goes on to the same fence or to the end; a span of code to as many backticks as it began with, within its
# paragraph. A quoted line begins with `>`. None of these repeats a repetition, so no text makes them slow.
_FENCED = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1[^\n]*$|\Z)", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r"^ {0,3}>[^\n]*", re.MULTILINE)
_TICKS = re.compile(r"`+")
_SPOKEN = {
    "all": re.compile(r"(?<![\w@.])@all(?![\w@])", re.IGNORECASE),
    "here": re.compile(r"(?<![\w@.])@here(?![\w@])", re.IGNORECASE),
}


def without_code_and_quotes(text: str) -> str:
    """Return a text with its code and its quoted lines left out."""
    return _without_spans(_QUOTED.sub("", _FENCED.sub("", text)))


def calls(text: str, whom: str) -> bool:
    """Return whether a text says `@all` or `@here`, outside of code and quotes. `whom` is `all` or `here`."""
    return _SPOKEN[whom].search(without_code_and_quotes(text)) is not None


def _without_spans(text: str) -> str:
    runs = [(found.start(), found.end()) for found in _TICKS.finditer(text)]
    if not runs:
        return text
    # The last run of each length, so that a run without a partner is found out without looking through the rest.
    last = {end - start: index for index, (start, end) in enumerate(runs)}
    kept: list[str] = []
    index, place = 0, 0
    while index < len(runs):
        start, end = runs[index]
        if last[end - start] == index:
            index += 1
            continue
        closing = next(n for n in range(index + 1, len(runs)) if runs[n][1] - runs[n][0] == end - start)
        kept.append(text[place:start])
        place, index = runs[closing][1], closing + 1
    return "".join([*kept, text[place:]])
