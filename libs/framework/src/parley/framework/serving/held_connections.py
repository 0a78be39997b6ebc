"""Compares the connections that a service holds with those that their gateways have.

A gateway reports the end of a connection once, and nothing if it was killed. So the service asks each gateway, in a
loop of its own and a task per gateway. As the service sees a gateway:

| state | while | what the service does |
|---|---|---|
| living | it was heard within `silent_after` | compares with it every `compare_every` seconds |
| back | it is heard again after a silence, or this service was cut off itself | compares at once |
| silent | nothing was heard for `silent_after`, or a later run lives under its name | compares at every sweep |
| gone | it was silent and has no listener at its address, or has not replied either | ends its connections |

A gateway's silence counts only as far as this service itself was listening: after a stall of its own loop, or its own
reconnect to NATS, every gateway has the whole time again. A gateway that was taken for gone and is back is told to end
the connections that were ended here, so that those clients connect again and are admitted anew.
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
"""Seconds by which a sweep may be late. A later one shows that this process stood still."""
SIDS = 2_000
"""Connections in one `CompareConnections`: about 100 KB of sids."""
ANSWER_TIMEOUT = 5.0
"""Seconds that a gateway may take to reply to a comparison."""


class GatewayTimeouts(NamedTuple):
    """Seconds that a service waits before it does something about a gateway."""

    silent_after: float = 15.0
    """Without a sign of life, after which a gateway without a listener at its address counts as gone."""
    given_up_after: float = 60.0
    """Without a sign of life or a reply, after which it counts as gone: its clients have left it by then."""
    compare_every: float = 30.0
    """Between two comparisons with a living gateway."""
    remember: float = 600.0
    """For which the connections of a gateway that counts as gone are remembered, in case it comes back."""


GATEWAY_TIMEOUTS = GatewayTimeouts()


class HeldConnections:
    """The connections of one namespace that this process has admitted and whose end was not reported."""

    def __init__(
        self,
        bus: Bus,
        namespace: str,
        registry: GatewayRegistry,
        on_gone: Callable[[str, DisconnectReason], None],
        timeouts: GatewayTimeouts,
    ) -> None:
        """`on_gone` is called for each connection that turns out to be gone, once it is not held any more."""
        self._bus = bus
        self._namespace = namespace
        self._registry = registry
        self._on_gone = on_gone
        self._timeouts = timeouts
        self._gateways: dict[str, str] = {}
        """The gateway of each sid that is held."""
        self._sids: dict[str, dict[str, None]] = {}
        """The sids that are held, by gateway."""
        self._presumed_gone: dict[str, tuple[float, list[str]]] = {}
        """The gateways that count as gone, each with the time when it did and the sids that it had then."""
        self._due: dict[str, float] = {}
        """The time of the next comparison, by gateway."""
        self._asking: set[str] = set()
        """The gateways with which a comparison is under way."""
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
        """Hold a connection of a gateway."""
        self.discard(sid)
        self._gateways[sid] = gateway
        self._sids.setdefault(gateway, {})[sid] = None

    def discard(self, sid: str) -> None:
        """Hold a connection no longer. To do it twice is harmless."""
        if (gateway := self._gateways.pop(sid, None)) is not None:
            sids = self._sids[gateway]
            del sids[sid]
            if not sids:
                del self._sids[gateway]

    def _was_away(self) -> None:
        """Begin to listen anew: this process missed signs of life, and perhaps reports of ended connections."""
        self._listening_since = time.monotonic()
        self._due.clear()

    async def _run(self) -> None:
        swept = time.monotonic()
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            now = time.monotonic()
            # The signs of life that arrived while this process stood still are not read yet.
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
                self._due.pop(gateway, None)  # so that it is due at once when it is heard again
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
        """Return for how many seconds this process has listened without hearing a gateway."""
        listening = time.monotonic() - self._listening_since
        age = self._registry.alive().get(gateway, self._registry.silent().get(gateway))
        return listening if age is None else min(age, listening)

    def _may_be_gone(self, gateway: str) -> bool:
        name, name_of = self._registry.name_of(gateway), self._registry.name_of
        # With a later run under its name, the earlier run has ended, or stops as soon as it hears of the later one.
        if any(other != gateway and name_of(other) == name for other in self._registry.alive()):
            return True
        return self._silence(gateway) >= self._timeouts.silent_after

    async def _compare(self, gateway: str) -> None:
        try:
            await self._ask(gateway)
        except Reject as rejection:
            silence = self._silence(gateway)
            # `unavailable` is NATS' no-responders status for this address. A timeout alone proves nothing: a suspended
            # process does not reply either, and may wake up with its connections.
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
                # The connection may have been admitted anew, through another gateway, while this one replied.
                if self._gateways.get(sid) == gateway:
                    log.info("a connection had gone unnoticed", namespace=self._namespace, sid=sid)
                    self._end(sid, DisconnectReason.TRANSPORT_CLOSE)
        # Only now: had a request failed, the gateway would have to be told of the rest again.
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
