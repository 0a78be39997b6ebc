"""How an API key is written: `pk_<id>_<secret>`. The first part is its public name; a hash is kept of the secret."""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

PREFIX = "pk_"
PATTERN = r"^pk_[0-9a-f]{16}$"
"""What the id of a key looks like."""
_KEY = re.compile(r"(pk_[0-9a-f]{16})_([A-Za-z0-9_-]{43})")


class ApiKeyText(NamedTuple):
    """A key in its parts: the id finds its row, the secret proves it."""

    id: str
    secret: str

    def __str__(self) -> str:
        """Return the key as its holder presents it."""
        return f"{self.id}_{self.secret}"


def new_id() -> str:
    """Return an id for a new key."""
    return f"{PREFIX}{secrets.token_hex(8)}"


def new_secret() -> str:
    """Return a secret of 256 random bits."""
    return secrets.token_urlsafe(32)


def parse(text: str) -> ApiKeyText | None:
    """Return the parts of what is presented; None for what is no key."""
    found = _KEY.fullmatch(text)
    return ApiKeyText(found[1], found[2]) if found else None
