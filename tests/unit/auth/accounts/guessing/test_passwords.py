"""Passwords are hashed with argon2id, off the loop and within a bound, each kind of caller in places of its own."""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pytest
from argon2 import PasswordHasher

from parley.auth.accounts.guessing import hashing_queue
from parley.auth.accounts.guessing import passwords as hashing
from parley.auth.accounts.guessing.hashing_queue import WAITING_PER_WORKER, HashingQueue
from parley.auth.accounts.guessing.login_limits import KNOWN, Rank
from parley.auth.accounts.guessing.passwords import Passwords
from parley.common.errors import Code, Reject

T = TypeVar("T")
PARAMETERS = replace(hashing.PARAMETERS, time_cost=2, memory_cost=256)
QUICK = PasswordHasher.from_parameters(PARAMETERS)
CAPACITY = 1 + WAITING_PER_WORKER
COMPOSED = unicodedata.normalize("NFC", "café crème")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture
def passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[Passwords]:
    """Its hashes are of the real kind, but take a hundredth of the time."""
    monkeypatch.setattr(hashing, "PARAMETERS", PARAMETERS)
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
    made = HashingQueue("test", 1)
    yield made
    gate.set()
    made.close()


async def test_password_fits_its_own_hash_only(passwords: Passwords) -> None:
    encoded = await passwords.hash("correct horse")
    assert encoded.startswith("$argon2id$")
    assert await passwords.verify(encoded, "correct horse") == (True, False)
    assert not (await passwords.verify(encoded, "wrong horse")).fits


def test_a_hash_costs_what_rfc_9106_recommends_and_no_thread_beside_its_workers() -> None:
    assert (hashing.PARAMETERS.memory_cost, hashing.PARAMETERS.time_cost) == (64 * 1024, 3)
    assert hashing.PARAMETERS.parallelism == 1


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
    async with passwords.turn(KNOWN):
        callers = [asyncio.create_task(passwords.verify(None, "anything")) for _ in range(WAITING_PER_WORKER + 3)]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Reject)]
    assert [rejection.code for rejection in refused] == [Code.OVERLOADED] * 3
    assert not (await passwords.verify(None, "anything")).fits


async def test_new_accounts_take_no_place_from_logins_nor_logins_from_them(passwords: Passwords) -> None:
    logins_are_through = asyncio.Event()

    async def register() -> str:
        async with passwords.first_turn() as turn:
            await logins_are_through.wait()
            return await passwords.hash("anything", turn)

    new = [asyncio.create_task(register()) for _ in range(CAPACITY + 1)]
    known = [asyncio.create_task(passwords.verify(None, "anything")) for _ in range(CAPACITY)]
    assert not any(verdict.fits for verdict in await asyncio.gather(*known))
    logins_are_through.set()
    outcomes = await asyncio.gather(*new, return_exceptions=True)
    assert sum(isinstance(outcome, Reject) for outcome in outcomes) == 1


async def in_turn(queue: HashingQueue, work: Callable[[], T], rank: Rank = KNOWN) -> T:
    async with queue.turn(rank) as turn:
        return await turn.run(work)


async def test_turns_go_by_rank_and_then_by_arrival_and_the_worst_makes_room(
    queue: HashingQueue, gate: threading.Event
) -> None:
    order: list[str] = []

    def come(name: str, rank: Rank) -> asyncio.Task[None]:
        def note() -> None:
            gate.wait()
            order.append(name)

        return asyncio.create_task(in_turn(queue, note, rank))

    # The first begins, and cannot be stopped; with the last two the places are full.
    guesses = [come(f"guess {number}", Rank(True, 7, number)) for number in range(WAITING_PER_WORKER - 1)]
    guesses += [come(f"equal {number}", Rank(True, 3)) for number in range(2)]
    await asyncio.sleep(0)
    assert not queue.admits(Rank(True, 7, WAITING_PER_WORKER - 2))
    better = [come("newcomer", Rank(True)), come("another", Rank(True, 0, 0, 9)), come("known", KNOWN)]
    late = come("late", Rank(True, 8))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*better)
    outcomes = await asyncio.gather(*guesses, late, return_exceptions=True)
    assert order[:7] == ["guess 0", "known", "newcomer", "another", "equal 0", "equal 1", "guess 1"]
    assert [outcome is None for outcome in outcomes] == [True] * 12 + [False] * 3 + [True] * 2 + [False]


async def test_guesses_leave_a_worker_to_who_is_known(gate: threading.Event) -> None:
    queue = HashingQueue("test", 2)
    guesses = [asyncio.create_task(in_turn(queue, gate.wait, Rank(True))) for _ in range(5)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(in_turn(queue, lambda: "done"), 30) == "done"
    gate.set()
    assert await asyncio.gather(*guesses) == [True] * 5
    queue.close()


async def test_never_more_turns_than_workers(gate: threading.Event) -> None:
    queue, running, most = HashingQueue("test", 3), 0, 0

    async def one(rank: Rank) -> None:
        nonlocal running, most
        async with queue.turn(rank) as turn:
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)  # from 3.14 on, work that a thread has done already is not waited for
            await turn.run(lambda: None)
            running -= 1

    await asyncio.gather(*(one(Rank(number % 2 == 0, number % 5)) for number in range(40)))
    assert most == 3
    queue.close()


async def test_who_waits_behind_others_for_too_long_is_told(
    queue: HashingQueue, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing_queue, "WAIT_SECONDS", 0.05)
    first = asyncio.create_task(in_turn(queue, gate.wait))
    await asyncio.sleep(0)
    with pytest.raises(Reject):
        await in_turn(queue, gate.wait)
    gate.set()
    assert await first
    assert await in_turn(queue, gate.wait)


async def test_who_hangs_up_frees_a_place_unless_a_thread_is_at_it(queue: HashingQueue, gate: threading.Event) -> None:
    callers = [asyncio.create_task(in_turn(queue, gate.wait)) for _ in range(CAPACITY)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.sleep(0)
    assert not queue.admits(KNOWN)
    callers[5].cancel()
    await asyncio.sleep(0)
    assert queue.admits(KNOWN)
    late = asyncio.create_task(in_turn(queue, gate.wait))
    await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(*callers, late, return_exceptions=True)
    assert [outcome for outcome in outcomes if outcome is True] == [True] * (CAPACITY - 1)


async def test_a_turn_in_which_nothing_is_hashed_is_over_with_its_block(queue: HashingQueue) -> None:
    with pytest.raises(Reject):
        async with queue.turn():
            raise Reject(Code.UNAVAILABLE)
    assert await asyncio.wait_for(in_turn(queue, lambda: "done"), 30) == "done"
