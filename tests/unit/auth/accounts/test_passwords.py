"""Passwords are hashed with argon2id, off the loop and within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from parley.auth.accounts.passwords import WAITING_PER_WORKER, Passwords
from parley.common.errors import Code, Reject


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(1)
    yield made
    made.close()


async def test_password_fits_its_own_hash_only(passwords: Passwords) -> None:
    encoded = await passwords.hash("correct horse")
    assert encoded.startswith("$argon2id$")
    assert await passwords.verify(encoded, "correct horse")
    assert not await passwords.verify(encoded, "wrong horse")


async def test_nobodys_hash_and_a_broken_hash_fit_nothing(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "anything")
    assert not await passwords.verify("not a hash", "anything")


async def test_more_than_can_wait_is_overload_and_passes(passwords: Passwords) -> None:
    capacity = 1 + WAITING_PER_WORKER
    outcomes = await asyncio.gather(
        *(passwords.verify(None, "anything") for _ in range(capacity + 3)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Reject)]
    assert [rejection.code for rejection in refused] == [Code.OVERLOADED] * 3
    assert not await passwords.verify(None, "anything")


async def test_caller_who_hangs_up_does_not_free_a_place_early(passwords: Passwords) -> None:
    capacity = 1 + WAITING_PER_WORKER
    callers = [asyncio.create_task(passwords.hash("anything")) for _ in range(capacity)]
    await asyncio.sleep(0)
    callers[0].cancel()
    with pytest.raises(Reject):
        await passwords.hash("one more")
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == capacity - 1
