"""How a login is treated before its password is looked at: at once, slowly, or not at all. Pure.

| who tries | refused beyond | slowed by | its password is looked at |
|---|---|---|---|
| a device that logged in as this user before | never; beyond its own rate it is like anybody else | - | first |
| an address from which this user logged in before | the address's rate, of this pair | this pair's failures | first |
| anybody else | the pair's rate, the address's rate | the address's failures | before those who tried more |
| anybody | logins that succeed: 300 a minute of one user | - | - |

So who guesses is slowed and refused where they are, and slows nobody else. When more come than can be looked at, those
go first whose address has tried least lately, then whose network has, then at whose user fewest have failed: who
comes to a new place passes everybody who goes on guessing. An address is an IPv4 address or an IPv6 /64, a network a
/24 or a /48. Attempts count until they turn out harmless: only failures use up anything. Whether a user of the name
exists is not asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import NamedTuple

from parley.auth.accounts.guessing.attempt_counts import AttemptCounts, Throttled
from parley.auth.settings import AttemptRate
from parley.common.errors import Code, Reject
from parley.common.http.addresses import network_key

STEP_SECONDS = 0.1
"""By which each failure beyond the first few slows the next attempt."""
UNSLOWED = 3
"""Failures that everybody may have."""
MAX_DELAY = 1.0
"""Seconds that an attempt is slowed at most: who knows the password is in within two."""
TRIES_SECONDS = 60.0
"""Seconds for which an address or a network has to pause until its tries are forgotten."""
PASSES = AttemptRate(60, 60)
"""Attempts that a device's proof spares a refusal before they are read."""
SUCCESSES = AttemptRate(300, 60)
"""Logins of one user that succeed; each takes a place from others."""
MAX_KNOWN = 65_536
"""Pairs of user and address that are remembered to have succeeded, of those the latest."""


class Rank(NamedTuple):
    """Whose password is looked at first: the smaller one's."""

    stranger: bool = False
    """Whether there is no proof that they logged in before."""
    address_tries: int = 0
    network_tries: int = 0
    user_failures: int = 0


KNOWN = Rank()


class LoginAttempt(NamedTuple):
    """Who tries: as which user (the username's key), from which address, and with which device's proof, if any."""

    username: str
    address: str
    device: str = ""


class Treatment(NamedTuple):
    """What is done with an attempt: how long it waits, its rank among those whose passwords are looked at."""

    delay: float
    rank: Rank
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
        self._address_tries = AttemptCounts(TRIES_SECONDS)
        self._network_tries = AttemptCounts(TRIES_SECONDS)
        self._passes = AttemptCounts(PASSES.seconds)
        self._usernames = AttemptCounts(by_pair.seconds)
        self._successes = AttemptCounts(SUCCESSES.seconds)
        self._known: dict[tuple[str, str], None] = {}
        self._known_addresses: Counter[str] = Counter()

    def spares(self, device: str, now: float) -> bool:
        """Whether an attempt is not refused before its user is known: a device shows a genuine proof, of whomever.

        Anybody can have one, of an account of their own. So it is spared at a rate, and looked at like any other
        beyond.
        """
        spared = bool(device) and self._passes.count(device, now) < PASSES.attempts
        if spared:
            self._passes.add(device, now)
        return spared

    def refusal(self, address: str, now: float, admits: Callable[[Rank], bool]) -> Reject | None:
        """Return why an attempt from an address is refused whatever it says, before it is read; or None.

        So a flood costs little. `admits` tells whether there is a place for somebody of a rank.
        """
        return None if address in self._known_addresses else self._refused(address, 0, now, admits)

    def refusal_of(self, attempt: LoginAttempt, now: float, admits: Callable[[Rank], bool]) -> Reject | None:
        """Return why an attempt is refused whatever its password is, once its username was read; or None."""
        if (attempt.username, attempt.address) in self._known:
            return None
        return self._refused(attempt.address, self._usernames.count(attempt.username, now), now, admits)

    def begin(self, attempt: LoginAttempt, now: float) -> Treatment:
        """Count an attempt and say how it is treated. Raises `Throttled`."""
        # Only who knows the password can use these up, and would else keep everybody's places.
        self._refuse_beyond(SUCCESSES, self._successes, attempt.username, now)
        device, pair = (attempt.username, attempt.device), (attempt.username, attempt.address)
        # A proof can be stolen with its browser. So it has a rate like any pair, and beyond it counts as if there were
        # none.
        if attempt.device and self._devices.count(device, now) < self._by_pair.attempts:
            return self._counted(now, 0.0, KNOWN, (self._devices, device))
        if pair in self._known:
            failures = self._known_pairs.count(pair, now)
            self._refuse_beyond(self._by_address, self._known_pairs, pair, now)
            return self._counted(now, _delay(failures), KNOWN, (self._known_pairs, pair))
        # Looked at before this attempt is counted: the first of an address has tried nothing yet.
        rank = self._rank(attempt.address, self._usernames.count(attempt.username, now), now)
        self._try(attempt.address, now)
        # Neither is counted yet: whoever is refused here uses nothing up, and may try again when it says.
        self._refuse_beyond(self._by_pair, self._pairs, pair, now)
        self._refuse_beyond(self._by_address, self._addresses, attempt.address, now)
        return self._counted(
            now, _delay(self._addresses.count(attempt.address, now)), rank,
            (self._pairs, pair), (self._addresses, attempt.address), (self._usernames, attempt.username),
        )  # fmt: skip

    def harmless(self, treatment: Treatment, now: float) -> None:
        """It was no wrong guess: uncount it."""
        for counts, key in treatment.counted:
            counts.give_back(key, now)

    def succeeded(self, attempt: LoginAttempt, now: float) -> None:
        """Remember that this user was let in at this address."""
        self._successes.add(attempt.username, now)
        self._address_tries.give_back(attempt.address, now)
        self._network_tries.give_back(network_key(attempt.address), now)
        pair = (attempt.username, attempt.address)
        if pair in self._known:
            del self._known[pair]
        else:
            self._known_addresses[attempt.address] += 1
        # The one that succeeded longest ago: a dict keeps its keys in the order in which they came.
        while len(self._known) >= MAX_KNOWN:
            self._forget(next(iter(self._known)))
        self._known[pair] = None

    def forget(self, username: str) -> None:
        """Forget from where a user of this name logged in: it is somebody else's from now on."""
        for pair in [pair for pair in self._known if pair[0] == username]:
            self._forget(pair)

    def _refused(self, address: str, user_failures: int, now: float, admits: Callable[[Rank], bool]) -> Reject | None:
        if (throttled := self._addresses.count(address, now) >= self._by_address.attempts) or not admits(
            self._rank(address, user_failures, now)
        ):
            # Who was refused has tried as well: else who goes on would come before who begins.
            self._try(address, now)
            return Throttled(self._addresses.left(address, now)) if throttled else Reject(Code.OVERLOADED)
        return None

    def _rank(self, address: str, user_failures: int, now: float) -> Rank:
        address_tries = self._address_tries.count(address, now)
        return Rank(True, address_tries, self._network_tries.count(network_key(address), now), user_failures)

    def _try(self, address: str, now: float) -> None:
        for counts, key in ((self._address_tries, address), (self._network_tries, network_key(address))):
            counts.add(key, now)
            counts.renew(key, now)

    def _forget(self, pair: tuple[str, str]) -> None:
        del self._known[pair]
        self._known_addresses[pair[1]] -= 1
        if not self._known_addresses[pair[1]]:
            del self._known_addresses[pair[1]]

    @staticmethod
    def _refuse_beyond(rate: AttemptRate, counts: AttemptCounts, key: Hashable, now: float) -> None:
        if counts.count(key, now) >= rate.attempts:
            raise Throttled(counts.left(key, now))

    @staticmethod
    def _counted(now: float, delay: float, rank: Rank, *counted: tuple[AttemptCounts, Hashable]) -> Treatment:
        for counts, key in counted:
            counts.add(key, now)
        return Treatment(delay, rank, counted)


def _delay(failures: int) -> float:
    return min(MAX_DELAY, STEP_SECONDS * max(0, failures - UNSLOWED))
