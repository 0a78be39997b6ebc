"""Secrets that are kept under a key (AES-256-GCM): a copy of the database alone does not show them. Pure.

The keys are derived from the signing keys. With `PARLEY_AUTH_SIGNING_KEY` these are not in the database.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class SealedSecret(NamedTuple):
    """A secret as it is stored, and which key it is under."""

    data: bytes
    key: bytes


class UnknownKey(Exception):
    """A secret is under a key that was taken away, or not whose it is said to be."""


class SecretSeal:
    """Seals with its first key, and opens what is under any of its keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {sha256(key).digest()[:8]: AESGCM(key) for key in keys}
        self.current = next(iter(self._keys))

    def seal(self, secret: bytes, owner: str) -> SealedSecret:
        """Seal a secret. It opens for this owner alone: a row that is copied to another user is worth nothing."""
        # Random, of 96 bits: one key seals far fewer than the 2^32 secrets for which that is safe.
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return SealedSecret(nonce + self._keys[self.current].encrypt(nonce, secret, owner.encode()), self.current)

    def open(self, sealed: SealedSecret, owner: str) -> bytes:
        """Return the secret of this owner. Raises `UnknownKey`, also for another owner's."""
        key = self._keys.get(bytes(sealed.key))
        if key is None:
            raise UnknownKey
        try:
            return key.decrypt(sealed.data[:_NONCE_BYTES], sealed.data[_NONCE_BYTES:], owner.encode())
        except InvalidTag as error:
            raise UnknownKey from error
