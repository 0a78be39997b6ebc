"""Proofs that somebody has logged in on a device before: whoever shows one is not slowed by what strangers guess. Pure.

A proof is for one user, by their id: a username may be spelled otherwise, be changed, and belong to somebody else once
its account was deleted. It holds a random number by which its failures are counted, and is signed; nothing is stored.
It opens nothing: the password is needed as ever.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b

MAX_AGE = 400 * 86400
"""Seconds for which a proof is taken; the longest that browsers keep a cookie."""
MAX_PROOF = 128
_BODY = struct.Struct(">Q12s")
_SIGNATURE_BYTES = 16
_GENUINE = "\x00"
"""In place of an id, which has no such character: signs that a proof was made here, for whomever."""


class DeviceProofs:
    """Makes proofs with its first key, and recognises those of all its keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def make(self, user_id: str, now: float) -> str:
        """Return a new proof for a user, made at `now` (Unix seconds). Each is another device, whoever asks for it."""
        body = _BODY.pack(int(now), secrets.token_bytes(12))
        # Signed twice, so that a flood is told from devices of users before anybody knows which user is meant.
        signed = b"".join(_signature(self._keys[0], body, whose) for whose in (user_id, _GENUINE))
        return urlsafe_b64encode(body + signed).decode().rstrip("=")

    def device_of(self, user_id: str, proof: str, now: float) -> str:
        """Return what names the device that shows a proof; empty if it proves nothing for this user."""
        return self._number(proof, user_id, 0, now)

    def genuine(self, proof: str, now: float) -> str:
        """Return what names the device that shows a proof made here, for whomever; else empty.

        It costs no look at the database, so it is asked of every login before anything else is.
        """
        return self._number(proof, _GENUINE, 1, now)

    def _number(self, proof: str, whose: str, place: int, now: float) -> str:
        try:
            raw = urlsafe_b64decode(proof[:MAX_PROOF].encode("ascii") + b"==")
        except ValueError:
            return ""
        begin = _BODY.size + place * _SIGNATURE_BYTES
        body, signature = raw[: _BODY.size], raw[begin : begin + _SIGNATURE_BYTES]
        # In constant time: how many bytes fit must not be heard from the time that a wrong signature takes.
        if not any(hmac.compare_digest(signature, _signature(key, body, whose)) for key in self._keys):
            return ""
        made_at, number = _BODY.unpack(body)
        # A browser drops the cookie by itself then; whoever copied one does not.
        return number.hex() if now - made_at <= MAX_AGE else ""


def _signature(key: bytes, body: bytes, whose: str) -> bytes:
    return blake2b(body + whose.encode(), digest_size=_SIGNATURE_BYTES, key=key).digest()
