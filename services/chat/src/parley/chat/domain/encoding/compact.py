"""How the ids of users and commands are stored, pure: an id that is a UUID as its 16 bytes, any other as its text.

Most ids are UUIDs, and every row of the log has two. The first byte names the form if it is below 3; a text that begins
with such a byte gets a zero before it.
"""

from __future__ import annotations

import re
from functools import lru_cache

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OWN_USER = re.compile(r"u_[0-9a-f]{32}")
"""The id of a user who has an account with the auth service."""


def pack(text: str) -> bytes:
    """Return the stored form of an id."""
    if len(text) == 36 and _UUID.fullmatch(text):
        return b"\x01" + bytes.fromhex(text.replace("-", ""))
    if len(text) == 34 and _OWN_USER.fullmatch(text):
        return b"\x02" + bytes.fromhex(text[2:])
    data = text.encode()
    return b"\x00" + data if data and data[:1] < b"\x03" else data


pack_user = lru_cache(maxsize=65_536)(pack)
"""The same with a cache, for the ids of users, which occur again and again."""


def unpack(data: bytes) -> str:
    """Return the id that `pack` stored."""
    form = data[:1]
    if form == b"\x01":
        digits = data[1:].hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    if form == b"\x02":
        return "u_" + data[1:].hex()
    return data[1:].decode() if form == b"\x00" else data.decode()
