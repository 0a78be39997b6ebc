"""Which connections a service takes to be alive, compared with what their gateways have.

That a connection has gone is told once, and a gateway that was killed tells nothing. So a service asks. As it sees a
gateway:

| state | while | what the service does |
|---|---|---|
| living | it was heard within `silent_after` | compares with it every `compare_every` seconds |
| back | it is heard again after a silence, or this service was away itself | compares at once |
| silent | nothing was heard for `silent_after`, or a later run lives under its name | compares at every sweep |
| gone | it was silent and nobody listens at its address, or did not answer either | ends those it had |

Silence counts only as far as this service itself was listening: a stall of its own loop, and a reconnect of its own to
NATS, give every gateway the whole time again. A gateway that was taken for gone and is back is told to end them,
so that those clients come back and are admitted anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.connections import CompareConnections, ComparedConnections
from parley.common.wire.disconnects import DisconnectReason
from parley.framework.remote.gateway_registry import GatewayRegistry

log = get_logger(__name__)

SWEEP_INTERVAL = 1.0
LATE = 1.0
"""Seconds by which a sweep may be late before this process counts as one that stood still."""
SIDS = 2_000
"""Connections of one question."""
ANSWER_TIMEOUT = 5.0


class GatewayTimeouts(NamedTuple):
    """Seconds that a service waits before it does something about a gateway."""

    silent_after: float = 15.0
    """Without a sign of life, until nobody's answer at its address means that it is gone."""
    given_up_after: float = 60.0
    """Without a sign of life or an answer, until it counts as gone: its clients have left it by then."""
    compare_every: float = 30.0
    remember: float = 600.0
    """How long connections of a gateway that was taken for gone are remembered, in case that it comes back."""


GATEWAY_TIMEOUTS = GatewayTimeouts()


class HeldConnections:
    """The connections of one namespace that this process has admitted and not heard the end of."""

    def __init__(
        self,
        bus: Bus,
        namespace: str,
        registry: GatewayRegistry,
        on_gone: Callable[[str, DisconnectReason], None],
        timeouts: GatewayTimeouts,
    ) -> None:
        """`on_gone` is called for a connection that is gone; it is held no longer then."""
        self._bus = bus
        self._namespace = namespace
        self._registry = registry
        self._on_gone = on_gone
        self._timeouts = timeouts
        self._gateways: dict[str, str] = {}
        """By sid."""
        self._sids: dict[str, dict[str, None]] = {}
        """By gateway."""
        self._presumed_gone: dict[str, tuple[float, list[str]]] = {}
        """By gateway that was taken for gone: when that was, and its connections then."""
        self._due: dict[str, float] = {}
        """When to compare, by gateway."""
        self._asking: set[str] = set()
        self._listening_since = time.monotonic()
        self._tasks = Tasks()

    def __len__(self) -> int:
        return len(self._gateways)

    def start(self) -> None:
        """Begin to compare."""
        self._bus.on_reconnect(self._was_away)
        self._was_away()
        self._tasks.forever(self._run(), name="connections of gateways")

    async def close(self) -> None:
        """Stop comparing."""
        await self._tasks.close()

    def add(self, sid: str, gateway: str) -> None:
        """A gateway has a connection."""
        self.discard(sid)
        self._gateways[sid] = gateway
        self._sids.setdefault(gateway, {})[sid] = None

    def discard(self, sid: str) -> None:
        """A connection is gone; doing it twice is harmless."""
        if (gateway := self._gateways.pop(sid, None)) is not None:
            sids = self._sids[gateway]
            del sids[sid]
            if not sids:
                del self._sids[gateway]

    def _was_away(self) -> None:
        """Start to listen anew: this process missed signs of life, and perhaps the end of connections."""
        self._listening_since = time.monotonic()
        self._due.clear()

    async def _run(self) -> None:
        swept = time.monotonic()
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            now = time.monotonic()
            # What was said while this process stood still is not read yet.
            if now - swept > SWEEP_INTERVAL + LATE:
                self._was_away()
            elif self._bus.connected and self._registry.warmed_up:
                self._sweep(now)
            swept = now

    def _sweep(self, now: float) -> None:
        alive = self._registry.alive()
        for gateway, (since, _) in list(self._presumed_gone.items()):
            if now - since > self._timeouts.remember:
                del self._presumed_gone[gateway]
        for gateway in {*self._sids, *self._presumed_gone} - self._asking:
            if gateway not in alive:
                self._due.pop(gateway, None)  # when it is back, at once
                if gateway not in self._sids or not self._may_be_gone(gateway):
                    continue
            elif self._due.setdefault(gateway, now) > now:
                continue
            self._due[gateway] = now + self._timeouts.compare_every
            self._asking.add(gateway)
            self._tasks.spawn(self._compare(gateway), name="compare connections")
        for gateway in self._due.keys() - self._sids.keys() - self._presumed_gone.keys():
            del self._due[gateway]

    def _silence(self, gateway: str) -> float:
        """Seconds for which this process has listened and has not heard a gateway."""
        # Never longer than this process has listened itself: who was away has heard nobody.
        listening = time.monotonic() - self._listening_since
        age = self._registry.alive().get(gateway, self._registry.silent().get(gateway))
        return listening if age is None else min(age, listening)

    def _may_be_gone(self, gateway: str) -> bool:
        name, name_of = self._registry.name_of(gateway), self._registry.name_of
        # Another run under its name: the earlier one has ended, or stops as soon as it hears of the other.
        if any(other != gateway and name_of(other) == name for other in self._registry.alive()):
            return True
        return self._silence(gateway) >= self._timeouts.silent_after

    async def _compare(self, gateway: str) -> None:
        try:
            await self._ask(gateway)
        except Reject as rejection:
            silence = self._silence(gateway)
            # `unavailable` is the broker's word that nobody listens at this address. A timeout alone proves nothing: a
            # process that stands still does not answer either.
            nobody = rejection.code is Code.UNAVAILABLE and self._bus.connected and self._may_be_gone(gateway)
            if nobody or (rejection.code is Code.TIMEOUT and silence >= self._timeouts.given_up_after):
                self._gone(gateway)
        finally:
            self._asking.discard(gateway)

    async def _ask(self, gateway: str) -> None:
        held = list(self._sids.get(gateway, ()))
        _, ended = self._presumed_gone.get(gateway, (0.0, []))
        sids = iter([(sid, True) for sid in ended] + [(sid, False) for sid in held])
        while portion := list(islice(sids, SIDS)):
            question = CompareConnections(
                self._namespace, [sid for sid, over in portion if not over], [sid for sid, over in portion if over]
            )
            answer = await self._bus.request(
                subjects.compare(gateway), question, ComparedConnections, timeout=ANSWER_TIMEOUT
            )
            for sid in answer.gone:
                # Unless it has been admitted anew meanwhile, elsewhere.
                if self._gateways.get(sid) == gateway:
                    log.info("a connection had gone unnoticed", namespace=self._namespace, sid=sid)
                    self._end(sid, DisconnectReason.TRANSPORT_CLOSE)
        self._presumed_gone.pop(gateway, None)

    def _gone(self, gateway: str) -> None:
        sids = list(self._sids.get(gateway, ()))
        log.warning("a gateway is gone", gateway=gateway, namespace=self._namespace, connections=len(sids))
        _, earlier = self._presumed_gone.get(gateway, (0.0, []))
        self._presumed_gone[gateway] = (time.monotonic(), [*earlier, *sids])
        for sid in sids:
            self._end(sid, DisconnectReason.GATEWAY_GONE)

    def _end(self, sid: str, reason: DisconnectReason) -> None:
        self.discard(sid)
        self._on_gone(sid, reason)
