"""Passwords: argon2id off the event loop, a bounded number at a time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from parley.common.errors import Code, Reject

T = TypeVar("T")

WAITING_PER_WORKER = 16
"""Hashes that may wait for each worker, about a second's work; beyond it the caller is told `overloaded`."""


class Passwords:
    """Hashes and verifies passwords with argon2id (RFC 9106's second recommended parameters)."""

    def __init__(self, workers: int) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="argon2")
        self._capacity = workers * (1 + WAITING_PER_WORKER)
        self._pending = 0
        # Nobody's password; verifying against it makes an unknown user take as long as a known one.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """The encoded hash of a password. Raises `Reject(overloaded)`."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password fits; for no hash, False after the same time. Raises `Reject(overloaded)`."""

        def verify() -> bool:
            try:
                return self._hasher.verify(password_hash or self._nobody, password) and password_hash is not None
            except (VerificationError, InvalidHashError):
                return False

        return await self._run(verify)

    def close(self) -> None:
        """Drop what waits and wait for the hash each thread is at: a tenth of a second at the most."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pending >= self._capacity:
            raise Reject(Code.OVERLOADED)
        self._pending += 1
        future = self._threads.submit(work)
        # Counted until the thread is done, not until the caller is: one that hangs up must not free its place early.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))
        return await asyncio.wrap_future(future)

    def _release(self) -> None:
        self._pending -= 1
