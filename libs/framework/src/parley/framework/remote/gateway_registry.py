"""Knows which gateways live, from the signs of life that each sends every second.

    | state  | from                                   | to                                                            |
    |--------|----------------------------------------|---------------------------------------------------------------|
    | alive  | a sign of life                         | silent: none for `SILENT_AFTER`; gone: goodbye, a younger run |
    | silent | alive, remembered from before a start  | alive: a sign of life; gone: goodbye, a younger run, `FORGET` |

Each run of a gateway is an entry of its own, by its address. `GatewayRequests` asks who has to reply, `HeldConnections`
whose connections may be gone, and auth which gateways it has to reach.

A gateway's silence counts only while this process itself ran on time and was connected: a process that stood still, or
was cut off, has missed signs of life or has them still to read. All of it runs on the event loop of the bus.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import NamedTuple

from nats.aio.msg import Msg

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.processes import SignOfLife

SERVICE = "gateway"
SILENT_AFTER = 3.0
"""Seconds without a sign of life after which a gateway is silent; it sends one each second."""
FORGET_AFTER = 600.0
"""Seconds for which a silent gateway is remembered: it may be suspended and wake up with its connections."""
WARM_AFTER = 2.0
"""Seconds of listening after which every living gateway has been heard: each sends a sign of life every second."""
CHECK_INTERVAL = 0.5
"""Seconds between two checks for gateways that fell silent."""
STALL = 1.0
"""Seconds by which a check may be late. A later one shows that this process stood still, and declares nobody silent."""


class _Run(NamedTuple):
    """One run of a gateway: when it was heard last (monotonic seconds) and started (its own Unix milliseconds)."""

    last_seen: float
    started: int


class Sighting(NamedTuple):
    """A run of a gateway in a form that auth can store for its next start: ages instead of this process's clock."""

    address: str
    started: int
    seconds_ago: float


class GatewayRegistry:
    """The gateways that live and those that fell silent, by their addresses.

    Until it is `warmed_up`, living gateways may be missing.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._alive: dict[str, _Run] = {}
        self._silent: dict[str, _Run] = {}
        self._started = False
        self._listening_since = float("inf")
        self._checked = time.monotonic()

    async def start(self) -> None:
        """Begin to listen. To call it again is harmless."""
        if self._started:
            return
        self._started = True
        await self._bus.subscribe(subjects.ALIVE, self._on_sign_of_life)
        # Before the first check, and before anybody can ask who lives.
        self._bus.on_reconnect(self.start_over)
        self._bus.run_forever(self._run_checks(), name="living gateways")
        self.start_over()

    def start_over(self) -> None:
        """Warm up again, because signs of life were missed: after a reconnect to NATS, and at the start."""
        # Who was silent stays so: it may have died while nothing was heard.
        self._listening_since = now = time.monotonic()
        self._spare(now)

    def remember(self, sightings: Iterable[Sighting]) -> None:
        """Add gateways that an earlier process heard, as silent ones until this process hears them."""
        now = time.monotonic()
        for address, started, seconds_ago in sightings:
            if address in self._alive:
                continue
            name, run = self.name_of(address), _Run(now - seconds_ago, started)
            for runs in (self._alive, self._silent):
                if any(self.name_of(other) == name and runs[other].started > started for other in runs):
                    break  # a younger run has its name
            else:
                self._silent[address] = run

    def sightings(self) -> list[Sighting]:
        """Return every known gateway, living or silent, for a later process to `remember`."""
        self._check(now := time.monotonic())
        # Who is in both for a moment is alive.
        runs = {**self._silent, **self._alive}
        return [Sighting(address, run.started, now - run.last_seen) for address, run in runs.items()]

    @property
    def warmed_up(self) -> bool:
        """Whether this process has listened long enough to know every living gateway."""
        return time.monotonic() - self._listening_since >= WARM_AFTER

    @property
    def living(self) -> int:
        """About how many gateways live, without a check for silence: cheap enough to ask for each message."""
        return len(self._alive)

    def alive(self) -> dict[str, float]:
        """Return the living gateways, and how many seconds ago each was heard."""
        self._check(now := time.monotonic())
        return {address: now - run.last_seen for address, run in sorted(self._alive.items())}

    def silent(self) -> dict[str, float]:
        """Return the gateways that fell silent without a goodbye, and how many seconds ago each was heard."""
        self._check(now := time.monotonic())
        return {address: now - run.last_seen for address, run in sorted(self._silent.items())}

    @staticmethod
    def name_of(address: str) -> str:
        """Return the configured name in an address, for people to read."""
        return subjects.split_address(address)[0]

    async def _run_checks(self) -> None:
        while True:
            self._check(time.monotonic())
            await asyncio.sleep(CHECK_INTERVAL)

    def _check(self, now: float) -> None:
        late, self._checked = now - self._checked > CHECK_INTERVAL + STALL, now
        if self._started and not self._bus.connected:
            # Not only in `on_reconnect`, which nats-py calls a moment after `connected` is true again.
            self.start_over()
        elif late:
            self._spare(now)
        for address in [address for address, run in self._alive.items() if now - run.last_seen >= SILENT_AFTER]:
            # Not forgotten yet: it may be suspended, and hold its connections when it goes on.
            self._silent[address] = self._alive.pop(address)
        for address in [address for address, run in self._silent.items() if now - run.last_seen >= FORGET_AFTER]:
            del self._silent[address]

    def _spare(self, now: float) -> None:
        """Treat every living gateway as heard just now, since nobody's silence proves anything."""
        self._alive = {address: run._replace(last_seen=now) for address, run in self._alive.items()}

    async def _on_sign_of_life(self, message: Msg) -> None:
        service, address = subjects.parse_alive(message.subject)
        if service != SERVICE:
            return
        # Nothing is in order here: what was sent by two runs of one name may arrive mixed, so `started` decides.
        sign = decode(message.data, SignOfLife)
        if sign.leaving:
            # Only this run is gone: one that was refused the name says goodbye as well, and the holder of it lives.
            for runs in (self._alive, self._silent):
                runs.pop(address, None)
            return
        for runs in (self._alive, self._silent):
            for other in [other for other in runs if self.name_of(other) == self.name_of(address)]:
                if other != address and runs[other].started > sign.started:
                    return  # a younger run has its name; this one was suspended, and stops as soon as it learns of it
                del runs[other]
        self._alive[address] = _Run(time.monotonic(), sign.started)
