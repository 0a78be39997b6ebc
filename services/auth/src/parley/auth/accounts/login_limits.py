"""How a login is treated before its password is looked at: at once, slowly, or not at all. Pure.

| who tries | refused beyond | slowed by | password looked at |
|---|---|---|---|
| a device that logged in as this user before | never; beyond its own rate it is like anybody else | - | first |
| an address from which this user logged in before | the address's rate, of this pair | this pair's failures | first |
| an address that has hardly tried | the pair's rate, the address's rate | the user's failures, from anywhere | second |
| an address that goes on trying | the same | the same | last |
| anybody | logins that succeed: 300 a minute of one user | - | - |

So who guesses is refused where they are, and can only slow down others who were never there before. An address is an
IPv4 address or an IPv6 /64. Attempts count until they turn out harmless: only failures use up anything. Whether a user
of the name exists is not asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from enum import IntEnum
from typing import NamedTuple

from parley.auth.accounts.attempt_counts import AttemptCounts, Throttled
from parley.auth.settings import AttemptRate
from parley.common.errors import Code, Reject

STEP_SECONDS = 0.1
"""By which each failure beyond the rate of a pair slows the next attempt."""
FRESH_TRIES = 3
"""Attempts of an address, whatever became of them, that still make nobody suspicious."""
TRIES_SECONDS = 60.0
"""Seconds for which an address has to pause to be fresh again."""
PASSES = AttemptRate(60, 60)
"""Attempts that a device's proof spares a refusal before they are read."""
MAX_DELAY = 1.0
"""Seconds that an attempt is slowed at most: who knows the password is in within two."""
SUCCESSES = AttemptRate(300, 60)
"""Logins of one user that succeed; each takes a place from others."""
MAX_KNOWN = 65_536
"""Pairs of user and address that are remembered to have succeeded, of those the latest."""


class Lane(IntEnum):
    """Whose password is looked at first."""

    KNOWN = 0
    FRESH = 1
    SUSPECT = 2


class LoginAttempt(NamedTuple):
    """Who tries: as which user (the username's key), from which address, and with which device's proof, if any."""

    username: str
    address: str
    device: str = ""


class Treatment(NamedTuple):
    """What is done with an attempt: how long it waits, its place among those whose passwords are looked at."""

    delay: float
    lane: Lane
    counted: tuple[tuple[AttemptCounts, Hashable], ...]
    """Where it was counted."""


class LoginLimits:
    """Counts failed logins, and remembers from where logins succeeded, in this process's memory."""

    def __init__(self, by_pair: AttemptRate, by_address: AttemptRate) -> None:
        self._by_pair = by_pair
        self._by_address = by_address
        self._devices = AttemptCounts(by_pair.seconds)
        self._pairs = AttemptCounts(by_pair.seconds)
        self._known_pairs = AttemptCounts(by_address.seconds)
        self._addresses = AttemptCounts(by_address.seconds)
        self._tries = AttemptCounts(TRIES_SECONDS)
        self._passes = AttemptCounts(PASSES.seconds)
        self._usernames = AttemptCounts(by_pair.seconds)
        self._successes = AttemptCounts(SUCCESSES.seconds)
        self._known: dict[tuple[str, str], None] = {}
        self._known_addresses: Counter[str] = Counter()

    def refusal(self, address: str, device: str, now: float, *, full: bool) -> Reject | None:
        """Why an attempt from an address is refused whatever it says, before it is read; or None.

        So a flood costs little. `device` names one whose proof is genuine, though nobody knows yet for which user;
        `full` says that there is no place left for suspects.
        """
        if address in self._known_addresses:
            return None
        if device and self._passes.count(device, now) < PASSES.attempts:
            self._passes.add(device, now)
            return None
        if self._addresses.count(address, now) >= self._by_address.attempts:
            return Throttled(self._addresses.left(address, now))
        if not full or self._tries.count(address, now) < FRESH_TRIES:
            return None
        self._tries.renew(address, now)
        return Reject(Code.OVERLOADED)

    def begin(self, attempt: LoginAttempt, now: float) -> Treatment:
        """Count an attempt and say how it is treated. Raises `Throttled`."""
        # Only who knows the password can use these up, and would else keep everybody's places.
        self._refuse_beyond(SUCCESSES, self._successes, attempt.username, now)
        device, pair = (attempt.username, attempt.device), (attempt.username, attempt.address)
        if attempt.device and self._devices.count(device, now) < self._by_pair.attempts:
            return self._counted(now, 0.0, Lane.KNOWN, (self._devices, device))
        if pair in self._known:
            failures = self._known_pairs.count(pair, now)
            self._refuse_beyond(self._by_address, self._known_pairs, pair, now)
            return self._counted(now, self._delay(failures), Lane.KNOWN, (self._known_pairs, pair))
        self._refuse_beyond(self._by_pair, self._pairs, pair, now)
        self._refuse_beyond(self._by_address, self._addresses, attempt.address, now)
        lane = Lane.FRESH if self._tries.add(attempt.address, now) <= FRESH_TRIES else Lane.SUSPECT
        if lane is Lane.SUSPECT:
            self._tries.renew(attempt.address, now)
        delay = self._delay(self._usernames.count(attempt.username, now))
        return self._counted(
            now, delay, lane,
            (self._pairs, pair), (self._addresses, attempt.address), (self._usernames, attempt.username),
        )  # fmt: skip

    def harmless(self, treatment: Treatment, now: float) -> None:
        """It was no wrong guess: uncount it."""
        for counts, key in treatment.counted:
            counts.give_back(key, now)

    def succeeded(self, attempt: LoginAttempt, now: float) -> None:
        """Remember that this user was let in at this address."""
        self._successes.add(attempt.username, now)
        self._tries.give_back(attempt.address, now)
        pair = (attempt.username, attempt.address)
        if pair in self._known:
            del self._known[pair]
        else:
            self._known_addresses[attempt.address] += 1
        while len(self._known) >= MAX_KNOWN:
            self._forget(next(iter(self._known)))
        self._known[pair] = None

    def _forget(self, pair: tuple[str, str]) -> None:
        del self._known[pair]
        self._known_addresses[pair[1]] -= 1
        if not self._known_addresses[pair[1]]:
            del self._known_addresses[pair[1]]

    def _delay(self, failures: int) -> float:
        return min(MAX_DELAY, STEP_SECONDS * max(0, failures - self._by_pair.attempts + 1))

    @staticmethod
    def _refuse_beyond(rate: AttemptRate, counts: AttemptCounts, key: Hashable, now: float) -> None:
        if counts.count(key, now) >= rate.attempts:
            raise Throttled(counts.left(key, now))

    @staticmethod
    def _counted(now: float, delay: float, lane: Lane, *counted: tuple[AttemptCounts, Hashable]) -> Treatment:
        for counts, key in counted:
            counts.add(key, now)
        return Treatment(delay, lane, counted)
