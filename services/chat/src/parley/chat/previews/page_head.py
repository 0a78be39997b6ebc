"""What a page says of itself in its head, and which link of a text is looked at. Pure.

Pages are whatever somebody wrote. What is taken of one is plain text of bounded length, which clients show as text.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import quote, urlsplit

import msgspec

TITLE, DESCRIPTION, SITE = 300, 1000, 100
"""Characters of these at most."""
HTML_TYPES = ("text/html", "application/xhtml+xml")

_LINK = re.compile(r"https?://[^\s<>\"'`\x00-\x20]+", re.IGNORECASE)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_-]{1,40})", re.IGNORECASE)
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")
_WANTED = {
    "og:title": "title", "twitter:title": "title", "og:description": "description", "description": "description",
    "twitter:description": "description", "og:site_name": "site",
}  # fmt: skip
# A title of a page's own for sharing goes before the one for its window, and so on.
_ORDER = {"og:title": 0, "og:description": 0, "og:site_name": 0, "twitter:title": 1, "twitter:description": 1}


class Preview(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a page says of itself: plain texts."""

    title: str
    description: str = ""
    site: str = ""


def first_link(text: str) -> str | None:
    """Return the first link in a text, in ASCII as it is asked for; None if there is none."""
    match = _LINK.search(text)
    if match is None:
        return None
    link = match[0].rstrip(".,;:!?*_~|")
    # A bracket belongs to the link if it was opened there, as in many titles of encyclopedias.
    while link[-1:] in (")", "]", "}") and link.count({")": "(", "]": "[", "}": "{"}[link[-1]]) < link.count(link[-1]):
        link = link[:-1].rstrip(".,;:!?")
    try:
        parts = urlsplit(link)
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    except (ValueError, UnicodeError):
        return None
    path = quote(parts.path, safe="/%:@!$&'()*+,;=-._~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=-._~?")
    # What stands behind `#` is for the reader's browser alone.
    return parts._replace(scheme=parts.scheme.lower(), netloc=host, path=path, query=query, fragment="").geturl()


def preview_of(content_type: str, body: bytes) -> Preview | None:
    """Return what a page says of itself, which may be cut off; None if it says nothing."""
    reader = _HeadReader()
    reader.feed(_decoded(content_type, body))
    title = reader.best("title") or _plain("".join(reader.title), TITLE)
    if not title:
        return None
    return Preview(title[:TITLE], reader.best("description")[:DESCRIPTION], reader.best("site")[:SITE])


def _decoded(content_type: str, body: bytes) -> str:
    named = re.search(r"charset\s*=\s*\"?([A-Za-z0-9_-]{1,40})", content_type)
    found = _CHARSET.search(body[:4096])
    for charset in (named and named[1], found and found[1].decode()):
        if charset:
            try:
                # What does not decode is replaced: a page is cut in the middle of a character as often as not.
                return body.decode(charset, "replace")
            except (LookupError, ValueError):
                continue
    return body.decode("utf-8", "replace")


def _plain(text: str, most: int) -> str:
    return _SPACE.sub(" ", text[: 4 * most]).strip()[:most]


class _HeadReader(HTMLParser):
    """Collects titles and descriptions until the body begins."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self._found: dict[str, tuple[int, str]] = {}
        self._in_title = False
        self._over = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what a tag of the head says."""
        if self._over or tag == "body":
            self._over = True
            return
        self._in_title = tag == "title" and not self.title
        if tag != "meta":
            return
        said = {name: value or "" for name, value in attrs}
        name = (said.get("property") or said.get("name") or "").lower()
        if (what := _WANTED.get(name)) is not None and (content := _plain(said.get("content", ""), DESCRIPTION)):
            rank = _ORDER.get(name, 2)
            if what not in self._found or rank < self._found[what][0]:
                self._found[what] = rank, content

    def handle_endtag(self, tag: str) -> None:
        """Note that the title or the head is over."""
        self._in_title = False
        self._over = self._over or tag == "head"

    def handle_data(self, data: str) -> None:
        """Take a piece of the title."""
        # A title of many pieces is bounded by their number and by the length of each.
        if self._in_title and not self._over and len(self.title) < 100:
            self.title.append(data[:TITLE])

    def best(self, what: str) -> str:
        """Return what was found under the best of its names."""
        return self._found.get(what, (0, ""))[1]
