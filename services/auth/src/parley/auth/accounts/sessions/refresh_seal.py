"""Refresh tokens as texts: each names its session and when it ends, under a seal that only this service can make. Pure.

The seal lets a token that was spent be recognised for as long as it would have been good, without a row for it: rows
are kept for those alone that may still be used.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple

# It is not in a token, which holds the sixteen bytes behind it.
SESSION_PREFIX = "s_"
MAX_REFRESH_TOKEN = 128
_BODY = struct.Struct(">16sQ16s")
_SEAL_BYTES = 16


class OpenedToken(NamedTuple):
    """What a refresh token of this service says."""

    session_id: str
    expires_at: datetime


class RefreshSeal:
    """Makes refresh tokens with its first key, and recognises those of all its keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def make(self, session_id: str, expires_at: datetime) -> str:
        """Return a new token, of which 128 bits are random."""
        session = bytes.fromhex(session_id.removeprefix(SESSION_PREFIX))
        body = _BODY.pack(session, int(expires_at.timestamp()), secrets.token_bytes(16))
        return urlsafe_b64encode(body + _seal(self._keys[0], body)).decode()

    def open(self, token: str) -> OpenedToken | None:
        """Return what a token says, whether it was spent or not; None for one that this service has not made."""
        try:
            raw = urlsafe_b64decode(token.encode("ascii"))
        except ValueError:
            return None
        if urlsafe_b64encode(raw).decode() != token:
            # Decoding skips what is not of the alphabet: whoever sends a line's end along has not used a token twice.
            return None
        body, seal = raw[: _BODY.size], raw[_BODY.size :]
        # All keys are tried: after a rotation tokens of the key before are good until they are spent.
        if not any(hmac.compare_digest(seal, _seal(key, body)) for key in self._keys):
            return None
        session, expires_at, _random = _BODY.unpack(body)
        return OpenedToken(f"{SESSION_PREFIX}{session.hex()}", datetime.fromtimestamp(expires_at, UTC))


def _seal(key: bytes, body: bytes) -> bytes:
    return blake2b(body, digest_size=_SEAL_BYTES, key=key).digest()
