"""Tickets: what somebody has proven so far, under a seal that only this service can make. Pure.

A ticket is for one purpose and one user, and bound to what may change before it is used, such as the password. It is
also what a passkey signs: a challenge that was made here and lately.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b, sha256
from typing import NamedTuple

from parley.common.errors import Code, Reject

SECONDS = 300
"""For which a ticket is good."""
MAX_TICKET = 512
_BODY = struct.Struct(">BQ16s16s")
_SEAL_BYTES = 16
_AHEAD = 30
"""Seconds by which another replica's clock may be ahead."""


class TicketFor(IntEnum):
    """What a ticket is good for, and for nothing else: the number is under its seal."""

    SECOND_FACTOR = 1
    NEW_PASSWORD = 2
    PROOF = 3
    PASSKEY_LOGIN = 4
    PASSKEY_FACTOR = 5
    PASSKEY_REGISTRATION = 6


class Ticket(NamedTuple):
    """What a ticket says. `binding` is of what was true when it was made; `expires_at` in Unix seconds."""

    user_id: str
    proven_by: str
    """How its user has proven who they are so far, in a word; empty where that is nothing."""
    binding: bytes
    expires_at: int


def binding_of(*parts: str | None) -> bytes:
    """Return a short form of what a ticket is bound to."""
    hashed = sha256()
    for part in parts:
        raw = (part or "").encode()
        # With their lengths: else `a` and `bc` would be bound like `ab` and `c`.
        hashed.update(len(raw).to_bytes(4) + raw)
    return hashed.digest()[:16]


class TicketSeal:
    """Makes tickets with its first key, and takes those of all its keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def make_raw(self, purpose: TicketFor, user_id: str, binding: bytes, now: float, proven_by: str = "") -> bytes:
        """Return a ticket as bytes, of which 128 bits are random. `now` is in Unix seconds."""
        said = f"{user_id}\0{proven_by}"
        body = _BODY.pack(purpose, int(now), secrets.token_bytes(16), binding) + said.encode()
        return body + _seal(self._keys[0], body)

    def make(self, purpose: TicketFor, user_id: str, binding: bytes, now: float, proven_by: str = "") -> str:
        """Return a ticket as a text, in base64url without padding: the one spelling that `open` takes."""
        return _text_of(self.make_raw(purpose, user_id, binding, now, proven_by))

    def open_raw(self, purpose: TicketFor, raw: bytes, now: float) -> Ticket:
        """Return what a ticket says.

        Raises `Reject`: `invalid_credentials` for one that is none of these, `expired_token`.
        """
        # The seal is looked at before anything else is believed, the length of the body among it.
        body, seal = raw[:-_SEAL_BYTES], raw[-_SEAL_BYTES:]
        if len(body) < _BODY.size or not any(hmac.compare_digest(seal, _seal(key, body)) for key in self._keys):
            raise Reject(Code.INVALID_CREDENTIALS, "This ticket is not good for this.")
        made_for, issued_at, _random, binding = _BODY.unpack(body[: _BODY.size])
        # In the same words: which tickets exist for a user is nobody's business.
        if made_for != purpose:
            raise Reject(Code.INVALID_CREDENTIALS, "This ticket is not good for this.")
        # The clocks are those of replicas, one of which made it and another of which reads it.
        if not issued_at - _AHEAD <= now < issued_at + SECONDS:
            raise Reject(Code.EXPIRED_TOKEN, "This took too long; begin again.")
        user_id, _, proven_by = body[_BODY.size :].decode().partition("\0")
        return Ticket(user_id, proven_by, binding, issued_at + SECONDS)

    def open(self, purpose: TicketFor, text: str, now: float) -> Ticket:
        """Return the same of a text. Raises as `open_raw` does."""
        try:
            raw = urlsafe_b64decode(text.encode("ascii") + b"==")
        except ValueError:
            raw = b""
        # Decoding skips what is not of the alphabet, and a ticket that was used must not come back in another spelling.
        return self.open_raw(purpose, raw if _text_of(raw) == text else b"", now)


def _text_of(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _seal(key: bytes, body: bytes) -> bytes:
    return blake2b(body, digest_size=_SEAL_BYTES, key=key).digest()
