"""Failed logins: who guesses is refused, and nobody else; in bounded memory."""

from __future__ import annotations

import time
from typing import Any

import pytest

from parley.auth.accounts import login_limits
from parley.auth.accounts.attempt_counts import AttemptCounts, AttemptLimit, Throttled
from parley.auth.accounts.device_proofs import MAX_AGE, DeviceProofs
from parley.auth.accounts.login_limits import MAX_DELAY, Lane, LoginAttempt, LoginLimits, Treatment
from parley.auth.settings import AttemptRate, rate
from parley.common.errors import Code
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


def test_strangers_slow_down_a_user_who_was_never_there_and_refuse_nobody(limits: LoginLimits) -> None:
    for number in range(2000):
        limits.begin(LoginAttempt("ann", f"10.1.{number >> 8}.{number & 255}"), 0.0)
    treatment = limits.begin(ANN, 1.0)
    assert (treatment.delay, treatment.lane) == (MAX_DELAY, Lane.FRESH)
    # Whoever goes on trying where they are comes after that.
    lanes = [treatment.lane for treatment in fail(limits, LoginAttempt("ann", "10.1.0.0"), 3, 1.0)]
    assert lanes == [Lane.FRESH, Lane.FRESH, Lane.SUSPECT]
    assert limits.begin(LoginAttempt("ben", "10.0.0.2"), 1.0).delay == 0


def test_who_was_there_before_is_not_slowed_by_strangers(limits: LoginLimits) -> None:
    succeed(limits, ANN)
    for number in range(2000):
        limits.begin(LoginAttempt("ann", f"10.1.{number >> 8}.{number & 255}"), 0.0)
    assert limits.begin(ANN, 1.0)[:2] == (0.0, Lane.KNOWN)
    assert limits.begin(ANN._replace(address="10.0.0.99", device="d1"), 1.0)[:2] == (0.0, Lane.KNOWN)


def test_guesses_from_the_very_address_slow_who_was_there_before_and_do_not_touch_their_device(
    limits: LoginLimits,
) -> None:
    succeed(limits, ANN)
    fail(limits, ANN, 30)
    assert 0 < limits.begin(ANN, 1.0).delay <= MAX_DELAY
    assert limits.begin(ANN._replace(device="d1"), 1.0)[:2] == (0.0, Lane.KNOWN)
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
    assert limits.begin(ANN, 0.0)[:2] == (0.0, Lane.KNOWN)


def test_a_stolen_device_guesses_no_faster_than_anybody(limits: LoginLimits) -> None:
    stolen = LoginAttempt("ann", "10.0.0.7", "d1")
    assert [treatment.lane for treatment in fail(limits, stolen, 10)] == [Lane.KNOWN] * 10
    assert fail(limits, stolen, 10)[-1].lane is Lane.SUSPECT
    with pytest.raises(Throttled):
        limits.begin(stolen, 0.0)


def test_a_flood_is_refused_before_it_is_read_and_nobody_who_was_there_before(limits: LoginLimits) -> None:
    for number in range(3):
        assert limits.refusal("10.0.0.8", "", 0.0, full=True) is None
        limits.begin(LoginAttempt(f"user{number}", "10.0.0.8"), 0.0)
    assert limits.refusal("10.0.0.8", "", 0.0, full=False) is None
    refused = limits.refusal("10.0.0.8", "", 0.0, full=True)
    assert refused is not None
    assert refused.code is Code.OVERLOADED
    # Only a pause makes an address fresh again.
    for now in (50.0, 100.0):
        assert limits.refusal("10.0.0.8", "", now, full=True) is not None
    assert limits.refusal("10.0.0.8", "", 161.0, full=True) is None
    assert limits.refusal("10.0.0.8", "d1", 0.0, full=True) is None
    succeed(limits, LoginAttempt("ben", "10.0.0.8"))
    assert limits.refusal("10.0.0.8", "", 0.0, full=True) is None
    for number in range(60):
        limits.begin(LoginAttempt(f"user{number}", "10.0.0.9"), 0.0)
    assert isinstance(limits.refusal("10.0.0.9", "", 0.0, full=False), Throttled)
    passed = [limits.refusal("10.0.0.9", "d2", 0.0, full=True) is None for _ in range(61)]
    assert passed == [True] * 60 + [False]


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
