"""Which passwords are taken, wherever one is chosen: at registration, at a change, and in the settings. Pure."""

from __future__ import annotations

import unicodedata

from parley.auth.names import username_key

MIN_PASSWORD = 8
MAX_PASSWORD = 256
"""Characters in NFKC. Longer ones would only cost time."""


def normal(password: str) -> str:
    """Return a password in NFKC (RFC 8265 asks for a normal form): `é` is one character or two, by the keyboard."""
    return unicodedata.normalize("NFKC", password)


def weakness(password: str, username: str) -> str | None:
    """Return why this user may not have this password; None if they may."""
    length = len(normal(password))
    if length < MIN_PASSWORD:
        return f"a password has at least {MIN_PASSWORD} characters"
    if length > MAX_PASSWORD:
        return f"a password has at most {MAX_PASSWORD} characters"
    if username_key(password) == username_key(username):
        return "a password is not the username"
    return None
