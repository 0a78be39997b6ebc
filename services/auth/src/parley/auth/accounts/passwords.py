"""Passwords: argon2id off the event loop, a bounded number at a time; in NFKC, however a keyboard spells them."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from parley.auth.accounts.hashing_queue import HashingQueue
from parley.auth.accounts.login_limits import Lane
from parley.auth.password_policy import normal

REGISTERING_WORKERS = 1
"""New passwords hashed at a time: registrations take no place from logins."""


class Verdict(NamedTuple):
    """Whether a password fits, and whether it is to be hashed anew: with other parameters, or in NFKC."""

    fits: bool
    outdated: bool = False


class Passwords:
    """Hashes and verifies passwords with argon2id (RFC 9106's second recommended parameters)."""

    def __init__(self, workers: int) -> None:
        self._hasher = PasswordHasher()
        self._logins = HashingQueue("argon2", workers, len(Lane), urgent=1)
        self._registrations = HashingQueue("argon2-new", REGISTERING_WORKERS)
        # Nobody's password; verifying against it makes an unknown user take as long as a known one.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    def full(self, lane: Lane) -> bool:
        """Whether nothing more can wait in a lane now."""
        return self._logins.full(lane)

    async def hash_new(self, password: str) -> str:
        """The encoded hash of somebody's first password. Raises `Reject(overloaded)`."""
        return await self._registrations.run(lambda: self._hasher.hash(normal(password)))

    async def hash(self, password: str) -> str:
        """The encoded hash of a password of somebody known. Raises `Reject(overloaded)`."""
        return await self._logins.run(lambda: self._hasher.hash(normal(password)), Lane.KNOWN)

    async def verify(self, password_hash: str | None, password: str, lane: Lane = Lane.KNOWN) -> Verdict:
        """Whether the password fits; for no hash it does not, after the same time. Raises `Reject(overloaded)`."""

        def fits(candidate: str) -> bool:
            try:
                return self._hasher.verify(password_hash or self._nobody, candidate)
            except (VerificationError, InvalidHashError):
                return False

        def verify() -> Verdict:
            normalized = normal(password)
            if fits(normalized):
                outdated = password_hash is not None and self._hasher.check_needs_rehash(password_hash)
                return Verdict(password_hash is not None, outdated)
            # Hashed as it was typed, before passwords were normalized.
            return (
                Verdict(password_hash is not None, outdated=True)
                if (normalized != password and fits(password))
                else Verdict(fits=False)
            )

        return await self._logins.run(verify, lane)

    def close(self) -> None:
        """Drop what waits and wait for the hash each thread is at: a tenth of a second at the most."""
        self._logins.close()
        self._registrations.close()
