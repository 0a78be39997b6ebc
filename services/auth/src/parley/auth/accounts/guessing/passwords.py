"""Passwords: argon2id off the event loop, a bounded number at a time; in NFKC, however a keyboard spells them."""

from __future__ import annotations

import secrets
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from parley.auth.accounts.guessing.hashing_queue import HashingQueue, Turn
from parley.auth.accounts.guessing.login_limits import Rank
from parley.auth.password_policy import normal

PARAMETERS = replace(RFC_9106_LOW_MEMORY, parallelism=1)
"""The second ones that RFC 9106 recommends, but in one lane: others would be threads beside the workers."""
REGISTERING_WORKERS = 1
"""New passwords hashed at a time: registrations take no place from logins."""


class Verdict(NamedTuple):
    """Whether a password fits, and whether it is to be hashed anew: with other parameters, or in NFKC."""

    fits: bool
    outdated: bool = False


class Passwords:
    """Hashes and verifies passwords, in threads and in turn. Those of logins and of registrations wait apart."""

    def __init__(self, workers: int) -> None:
        self._hasher = PasswordHasher.from_parameters(PARAMETERS)
        self._logins = HashingQueue("argon2", workers)
        self._registrations = HashingQueue("argon2-new", REGISTERING_WORKERS)
        # Nobody's password; verifying against it makes an unknown user take as long as a known one.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    def admits(self, rank: Rank) -> bool:
        """Return whether the password of somebody of this rank would be looked at, now or in a while."""
        return self._logins.admits(rank)

    def turn(self, rank: Rank) -> AbstractAsyncContextManager[Turn]:
        """Return a turn to have a password looked at; waits for it. Raises `Reject(overloaded)`."""
        return self._logins.turn(rank)

    def first_turn(self) -> AbstractAsyncContextManager[Turn]:
        """Return a turn to have somebody's first password hashed; waits for it. Raises `Reject(overloaded)`."""
        return self._registrations.turn()

    async def hash(self, password: str, turn: Turn | None = None) -> str:
        """Return the encoded hash of a password; without a turn of somebody known. Raises `Reject(overloaded)`."""
        if turn is not None:
            return await turn.run(lambda: self._hasher.hash(normal(password)))
        async with self._logins.turn() as own:
            return await self.hash(password, own)

    async def verify(self, password_hash: str | None, password: str, turn: Turn | None = None) -> Verdict:
        """Return whether the password fits; for no hash it does not, after the same time.

        Without a turn it waits for one as somebody known does. Raises `Reject(overloaded)`.
        """

        def fits(candidate: str) -> bool:
            try:
                # The hash says its own parameters, so that passwords of before another choice of them still fit.
                return self._hasher.verify(password_hash or self._nobody, candidate)
            except (VerificationError, InvalidHashError):
                return False

        def verdict() -> Verdict:
            normalized = normal(password)
            # The usual case first: a second hash is spent only where the spelling makes a difference.
            if fits(normalized):
                outdated = password_hash is not None and self._hasher.check_needs_rehash(password_hash)
                return Verdict(password_hash is not None, outdated)
            # Hashed as it was typed, before passwords were normalized.
            return (
                Verdict(password_hash is not None, outdated=True)
                if (normalized != password and fits(password))
                else Verdict(fits=False)
            )

        if turn is not None:
            return await turn.run(verdict)
        async with self._logins.turn() as own:
            return await own.run(verdict)

    def close(self) -> None:
        """Drop what waits and wait for the hash each thread is at: a tenth of a second at the most."""
        self._logins.close()
        self._registrations.close()
