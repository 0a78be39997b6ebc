"""Failed logins: who guesses is refused, and nobody else; in bounded memory."""

from __future__ import annotations

import time
from bisect import insort
from contextlib import suppress
from typing import Any

import pytest

from parley.auth.accounts.guessing import login_limits
from parley.auth.accounts.guessing.attempt_counts import AttemptCounts, AttemptLimit, Throttled
from parley.auth.accounts.guessing.device_proofs import MAX_AGE, DeviceProofs
from parley.auth.accounts.guessing.login_limits import KNOWN, MAX_DELAY, LoginAttempt, LoginLimits, Rank, Treatment
from parley.auth.settings import AttemptRate, rate
from parley.common.errors import Code, Reject
from parley.common.http.addresses import address_key

ANN = LoginAttempt("ann", "10.0.0.1")


@pytest.fixture
def limits() -> LoginLimits:
    return LoginLimits(rate("10/minute"), rate("60/minute"))


def fail(limits: LoginLimits, attempt: LoginAttempt, times: int, now: float = 0.0) -> list[Treatment]:
    return [limits.begin(attempt, now) for _ in range(times)]


def succeed(limits: LoginLimits, attempt: LoginAttempt, now: float = 0.0) -> None:
    limits.harmless(limits.begin(attempt, now), now)
    limits.succeeded(attempt, now)


def test_who_guesses_is_refused_where_they_are_until_the_window_is_over(limits: LoginLimits) -> None:
    fail(limits, ANN, 10)
    with pytest.raises(Throttled) as refused:
        limits.begin(ANN, 1.5)
    assert refused.value.retry_after == 59
    limits.begin(ANN, 60.0)


def test_strangers_slow_down_and_refuse_nobody_else(limits: LoginLimits) -> None:
    for number in range(2000):
        limits.begin(LoginAttempt("ann", f"10.1.{number >> 8}.{number & 255}"), 0.0)
    assert limits.begin(ANN, 1.0)[:2] == (0.0, Rank(True, 0, 0, 2000))
    # Who comes to a new place comes before all who have tried, and before strangers to the user that is sprayed.
    tried = [treatment.rank for treatment in fail(limits, LoginAttempt("ann", "10.1.0.0"), 3, 1.0)]
    assert [rank.address_tries for rank in tried] == [1, 2, 3]
    ben = limits.begin(LoginAttempt("ben", "10.7.0.2"), 1.0)
    assert ben.delay == 0
    assert KNOWN < ben.rank < Rank(True, 0, 0, 2000) < tried[0]


def test_who_goes_on_is_slowed_before_they_are_refused(limits: LoginLimits) -> None:
    delays = [treatment.delay for treatment in fail(limits, ANN, 10)]
    assert delays[:4] == [0.0] * 4
    assert delays == sorted(delays)
    assert 0 < delays[-1] < MAX_DELAY
    # At others from there as well, up to a bound.
    elsewhere = [limits.begin(LoginAttempt(f"user{number}", ANN.address), 0.0).delay for number in range(49)]
    assert elsewhere[-1] == MAX_DELAY


def test_a_network_that_tries_comes_after_one_that_does_not(limits: LoginLimits) -> None:
    for address in ("10.1.0.1", "2001:db8:1:2::1"):
        limits.begin(LoginAttempt("ann", address_key(address)), 0.0)
    for near, far in (("10.1.0.2", "10.1.1.2"), ("2001:db8:1:3::1", "2001:db8:2:2::1")):
        ranks = [limits.begin(LoginAttempt("ben", address_key(address)), 1.0).rank for address in (near, far)]
        assert [rank[:3] for rank in ranks] == [(True, 0, 1), (True, 0, 0)]


def test_who_was_there_before_is_not_slowed_by_strangers(limits: LoginLimits) -> None:
    succeed(limits, ANN)
    for number in range(2000):
        limits.begin(LoginAttempt("ann", f"10.1.{number >> 8}.{number & 255}"), 0.0)
    assert limits.begin(ANN, 1.0)[:2] == (0.0, KNOWN)
    assert limits.begin(ANN._replace(address="10.0.0.99", device="d1"), 1.0)[:2] == (0.0, KNOWN)


def test_guesses_from_the_very_address_slow_who_was_there_before_and_do_not_touch_their_device(
    limits: LoginLimits,
) -> None:
    succeed(limits, ANN)
    fail(limits, ANN, 30)
    assert 0 < limits.begin(ANN, 1.0).delay <= MAX_DELAY
    assert limits.begin(ANN._replace(device="d1"), 1.0)[:2] == (0.0, KNOWN)
    fail(limits, ANN, 29)
    with pytest.raises(Throttled):
        limits.begin(ANN, 1.0)
    limits.begin(ANN._replace(device="d1"), 1.0)


def test_guesses_at_others_from_ones_address_do_not_touch_who_was_there_before(limits: LoginLimits) -> None:
    succeed(limits, ANN)
    for number in range(60):
        limits.begin(LoginAttempt(f"user{number}", ANN.address), 0.0)
    with pytest.raises(Throttled):
        limits.begin(LoginAttempt("ben", ANN.address), 0.0)
    assert limits.begin(ANN, 0.0)[:2] == (0.0, KNOWN)


def test_a_stolen_device_guesses_no_faster_than_anybody(limits: LoginLimits) -> None:
    stolen = LoginAttempt("ann", "10.0.0.7", "d1")
    assert [treatment.rank for treatment in fail(limits, stolen, 10)] == [KNOWN] * 10
    assert fail(limits, stolen, 10)[-1].rank.address_tries == 9
    with pytest.raises(Throttled):
        limits.begin(stolen, 0.0)


def test_a_flood_is_refused_before_it_is_read_and_nobody_who_was_there_before(limits: LoginLimits) -> None:
    def refused(address: str, now: float, device: str = "", worst: int = 3) -> Reject | None:
        """What becomes of an attempt when those who wait have tried so often."""
        if limits.spares(device, now):
            return None
        return limits.refusal(address, now, lambda rank: rank < Rank(True, worst))

    for number in range(3):
        assert refused("10.0.0.8", 0.0) is None
        limits.begin(LoginAttempt(f"user{number}", "10.0.0.8"), 0.0)
    assert refused("10.0.0.8", 0.0, worst=9) is None
    refusal = refused("10.0.0.8", 0.0)
    assert refusal is not None
    assert refusal.code is Code.OVERLOADED
    # What was refused was tried as well, and only a pause makes one who goes on a newcomer again.
    assert refused("10.0.0.8", 0.0, worst=4) is not None
    for now in (50.0, 100.0):
        assert refused("10.0.0.8", now) is not None
    assert refused("10.0.0.8", 161.0) is None
    assert refused("10.0.0.8", 0.0, "d1") is None
    succeed(limits, LoginAttempt("ben", "10.0.0.8"))
    assert refused("10.0.0.8", 0.0) is None
    for number in range(60):
        limits.begin(LoginAttempt(f"user{number}", "10.0.0.9"), 0.0)
    assert isinstance(refused("10.0.0.9", 0.0, worst=99), Throttled)
    passed = [refused("10.0.0.9", 0.0, "d2") is None for _ in range(61)]
    assert passed == [True] * 60 + [False]


def test_of_a_thousand_guesses_a_second_none_comes_before_who_logs_in_at_a_new_place(limits: LoginLimits) -> None:
    """A minute of them, from a thousand addresses at the same users; the queue is full of the best of them."""
    waiting: list[Rank] = []

    def admits(rank: Rank) -> bool:
        return len(waiting) < 32 or rank < waiting[-1]

    def come(attempt: LoginAttempt, now: float) -> bool:
        if limits.refusal(attempt.address, now, admits) is not None:
            return False
        rank = limits.begin(attempt, now).rank
        if not admits(rank):
            return False
        insort(waiting, rank)
        del waiting[32:]
        return waiting[0] == rank

    for number in range(60_000):
        now, host = number / 1000, number % 1000
        with suppress(Throttled):
            come(LoginAttempt(f"user{number % 20}", f"10.1.{host >> 8}.{host & 255}"), now)
        if number % 100 == 0:
            # Five are looked at in a second.
            del waiting[: number % 200 // 100]
        if number > 2000 and number % 500 == 0:
            newcomer = LoginAttempt(f"user{number % 20}", f"10.{2 + number // 500}.0.1")
            assert come(newcomer, now), (number, waiting)


def test_only_failures_use_anything_up_but_a_flood_of_ones_own_logins_ends(limits: LoginLimits) -> None:
    for _ in range(login_limits.SUCCESSES.attempts):
        succeed(limits, ANN)
    with pytest.raises(Throttled):
        limits.begin(ANN, 1.0)
    limits.begin(LoginAttempt("ben", ANN.address), 1.0)


def test_counts_are_bounded_and_what_is_over_is_dropped() -> None:
    counts = AttemptCounts(60, max_keys=100)
    for number in range(1000):
        counts.add(number, 0.0)
    assert len(counts) == 100
    assert (counts.count(0, 0.0), counts.count(999, 0.0)) == (0, 1)
    counts.add("new", 61.0)
    assert len(counts) == 1


def test_an_attempt_among_a_hundred_thousand_keys_costs_what_it_costs_among_few() -> None:
    def cost(keys: int) -> float:
        limit = AttemptLimit(AttemptRate(10, 60), max_keys=200_000)
        for number in range(keys):
            limit.take(number, 0.0)
        began = time.perf_counter()
        for number in range(2000):
            limit.take(-1 - number, 0.0)
        return time.perf_counter() - began

    assert min(cost(100_000) for _ in range(3)) < 10 * min(cost(1000) for _ in range(3))


def test_an_ipv6_subscriber_is_one_address() -> None:
    assert address_key("2001:db8:1:2::1") == address_key("2001:db8:1:2:ffff::9")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")


def test_a_proof_is_for_one_user_and_for_a_year() -> None:
    proofs = DeviceProofs([b"new", b"old"])
    proof = proofs.make("ann", 1000.0)
    assert proofs.device_of("ann", proof, 1000.0) == proofs.genuine(proof, 1000.0) != ""
    assert proofs.genuine(proof[:-3] + "AAA", 1000.0) == proofs.genuine("", 1000.0) == ""
    assert proofs.device_of("ann", DeviceProofs([b"old"]).make("ann", 0.0), 1000.0)
    wrong: list[tuple[str, Any, float]] = [
        ("ben", proof, 1000.0),
        ("ann", proof[:30] + "AAA" + proof[33:], 1000.0),
        ("ann", "", 1000.0),
        ("ann", "ü", 1000.0),
        ("ann", "x" * 10_000, 1000.0),
        ("ann", proof, 1001.0 + MAX_AGE),
        ("ann", DeviceProofs([b"another"]).make("ann", 1000.0), 1000.0),
    ]
    for username, shown, now in wrong:
        assert proofs.device_of(username, shown, now) == ""
