"""How ids of users and commands are stored, pure: those that are a UUID in its 16 bytes, others as they are.

Most are UUIDs, and each is in every row of the log. A first byte below 3 names the form; UTF-8 that begins with such a
byte gets a zero before it.
"""

from __future__ import annotations

import re
from functools import lru_cache

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OWN_USER = re.compile(r"u_[0-9a-f]{32}")
"""A user with an account of auth's."""


def pack(text: str) -> bytes:
    """The stored form of an id."""
    if len(text) == 36 and _UUID.fullmatch(text):
        return b"\x01" + bytes.fromhex(text.replace("-", ""))
    if len(text) == 34 and _OWN_USER.fullmatch(text):
        return b"\x02" + bytes.fromhex(text[2:])
    data = text.encode()
    return b"\x00" + data if data and data[:1] < b"\x03" else data


pack_user = lru_cache(maxsize=65_536)(pack)
"""The same for ids of users, who come again."""


def unpack(data: bytes) -> str:
    """The id that `pack` stored."""
    form = data[:1]
    if form == b"\x01":
        digits = data[1:].hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    if form == b"\x02":
        return "u_" + data[1:].hex()
    return data[1:].decode() if form == b"\x00" else data.decode()
