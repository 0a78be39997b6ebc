"""Passwords are hashed with argon2id, off the loop and within a bound, each kind of caller in places of its own."""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from parley.auth.accounts import hashing_queue
from parley.auth.accounts import passwords as hashing
from parley.auth.accounts.hashing_queue import WAITING_PER_WORKER, HashingQueue
from parley.auth.accounts.login_limits import Lane
from parley.auth.accounts.passwords import Passwords
from parley.common.errors import Code, Reject

QUICK = PasswordHasher(time_cost=2, memory_cost=256, parallelism=1)
CAPACITY = 1 + WAITING_PER_WORKER
COMPOSED = unicodedata.normalize("NFC", "café crème")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture
def passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[Passwords]:
    """Its hashes are of the real kind, but take a hundredth of the time."""
    monkeypatch.setattr(hashing, "PasswordHasher", lambda: QUICK)
    made = Passwords(1)
    yield made
    made.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What work in a thread waits for."""
    made = threading.Event()
    yield made
    made.set()


@pytest.fixture
def queue(gate: threading.Event) -> Iterator[HashingQueue]:
    made = HashingQueue("test", 1, len(Lane))
    yield made
    gate.set()
    made.close()


async def test_password_fits_its_own_hash_only(passwords: Passwords) -> None:
    encoded = await passwords.hash("correct horse")
    assert encoded.startswith("$argon2id$")
    assert await passwords.verify(encoded, "correct horse") == (True, False)
    assert not (await passwords.verify(encoded, "wrong horse")).fits


async def test_nobodys_hash_and_a_broken_hash_fit_nothing(passwords: Passwords) -> None:
    assert not (await passwords.verify(None, "anything")).fits
    assert not (await passwords.verify("not a hash", "anything")).fits


async def test_a_password_is_the_same_however_a_keyboard_spells_it(passwords: Passwords) -> None:
    encoded = await passwords.hash(DECOMPOSED)
    assert await passwords.verify(encoded, COMPOSED) == (True, False)
    assert await passwords.verify(encoded, DECOMPOSED) == (True, False)
    assert (await passwords.verify(await passwords.hash("ｆｕｌｌ ｗｉｄｔｈ"), "full width")).fits  # noqa: RUF001


async def test_hashes_of_passwords_as_they_were_typed_go_on_and_are_outdated(passwords: Passwords) -> None:
    assert await passwords.verify(QUICK.hash(DECOMPOSED), DECOMPOSED) == (True, True)
    assert not (await passwords.verify(QUICK.hash(DECOMPOSED), COMPOSED)).fits
    weaker = PasswordHasher(time_cost=1, memory_cost=128, parallelism=1).hash("correct horse")
    assert await passwords.verify(weaker, "correct horse") == (True, True)


async def test_more_than_can_wait_is_overload_and_passes(passwords: Passwords) -> None:
    outcomes = await asyncio.gather(
        *(passwords.verify(None, "anything") for _ in range(CAPACITY + 3)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Reject)]
    assert [rejection.code for rejection in refused] == [Code.OVERLOADED] * 3
    assert not (await passwords.verify(None, "anything")).fits


async def test_new_accounts_take_no_place_from_logins_nor_logins_from_them(passwords: Passwords) -> None:
    new = [asyncio.create_task(passwords.hash_new("anything")) for _ in range(CAPACITY + 1)]
    known = [asyncio.create_task(passwords.verify(None, "anything")) for _ in range(CAPACITY)]
    assert not any(verdict.fits for verdict in await asyncio.gather(*known))
    outcomes = await asyncio.gather(*new, return_exceptions=True)
    assert sum(isinstance(outcome, Reject) for outcome in outcomes) == 1


async def test_who_is_known_comes_before_a_crowd_of_guesses_and_newcomers_next(
    queue: HashingQueue, gate: threading.Event
) -> None:
    order: list[str] = []

    def note(name: str) -> None:
        gate.wait()
        order.append(name)

    guesses = [asyncio.create_task(queue.run(lambda: note("guess"), Lane.SUSPECT)) for _ in range(CAPACITY + 5)]
    await asyncio.sleep(0)
    known = asyncio.create_task(queue.run(lambda: note("known"), Lane.KNOWN))
    fresh = [asyncio.create_task(queue.run(lambda n=n: note(f"fresh {n}"), Lane.FRESH)) for n in range(2)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(known, *fresh)
    # The one that had begun could not be stopped. Who came last has waited least.
    assert order[:4] == ["guess", "known", "fresh 1", "fresh 0"]
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    # The oldest of those that waited had to make room.
    assert [isinstance(outcome, Reject) for outcome in outcomes[:7]] == [False] + [True] * 5 + [False]


async def test_guesses_leave_a_worker_to_who_is_known(gate: threading.Event) -> None:
    queue = HashingQueue("test", 2, len(Lane), urgent=1)
    guesses = [asyncio.create_task(queue.run(gate.wait, Lane.SUSPECT)) for _ in range(5)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(queue.run(lambda: "done", Lane.KNOWN), 30) == "done"
    gate.set()
    assert await asyncio.gather(*guesses) == [True] * 5
    queue.close()


async def test_who_waits_behind_others_for_too_long_is_told(
    queue: HashingQueue, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing_queue, "WAIT_SECONDS", 0.05)
    first = asyncio.create_task(queue.run(gate.wait))
    await asyncio.sleep(0)
    with pytest.raises(Reject):
        await queue.run(gate.wait)
    gate.set()
    assert await first
    assert await queue.run(gate.wait)


async def test_who_hangs_up_frees_a_place_unless_a_thread_is_at_it(queue: HashingQueue, gate: threading.Event) -> None:
    callers = [asyncio.create_task(queue.run(gate.wait)) for _ in range(CAPACITY)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.sleep(0)
    assert queue.full()
    callers[5].cancel()
    await asyncio.sleep(0)
    assert not queue.full()
    late = asyncio.create_task(queue.run(gate.wait))
    await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(*callers, late, return_exceptions=True)
    assert [outcome for outcome in outcomes if outcome is True] == [True] * (CAPACITY - 1)
