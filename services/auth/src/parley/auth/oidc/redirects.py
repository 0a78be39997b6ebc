"""Where a login may end: a page of our own, or a configured URI. Anything else would be an open redirect. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

MAX_RETURN = 2048
_LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))
# Browsers take a backslash for a slash, and leave out tabs and line ends.
_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


class Destination(NamedTuple):
    """Where a browser is sent in the end. `own`: to a page of this deployment, in which our cookie is known."""

    url: str
    own: bool


def destination(return_to: str, public_url: str, registered: Iterable[str]) -> Destination | None:
    """Return where `return_to` leads: a path of our own or a registered URI; None if it is neither."""
    if len(return_to) > MAX_RETURN or not return_to.isprintable():
        return None
    if _PATH.fullmatch(return_to):
        return Destination(f"{public_url}{return_to}", own=True)
    if any(_same(uri, return_to) for uri in registered):
        return Destination(return_to, own=False)
    return None


def with_query(url: str, added: Mapping[str, str]) -> str:
    """Return a URL with more in its query, which replaces what it had under these names; empty values are left out."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in added]
    query = urlencode([*kept, *((name, value) for name, value in added.items() if value)])
    return parts._replace(query=query).geturl()


def _same(registered: str, given: str) -> bool:
    """Whether two URIs are the same, but for the port of a native app that listens on its own machine (RFC 8252)."""
    if registered == given:
        return True
    try:
        one, other = urlsplit(registered), urlsplit(given)
        return _is_loopback(one) and _is_loopback(other) and _without_port(one) == _without_port(other)
    except ValueError:
        return False


def _is_loopback(uri: SplitResult) -> bool:
    return uri.scheme == "http" and uri.hostname in _LOOPBACK and "@" not in uri.netloc


def _without_port(uri: SplitResult) -> SplitResult:
    _ = uri.port  # raises ValueError for what is none
    return uri._replace(netloc=uri.hostname or "")
