"""The directory of living gateways, from their signs of life."""

from __future__ import annotations

import time

from nats.aio.msg import Msg

from parley.common import subjects
from parley.common.bus import Bus

SERVICE = "gateway"
GONE_AFTER = 3.0
"""Seconds without a sign of life after which a gateway is gone; it sends one each second."""
FORGOTTEN_AFTER = 600.0
"""Seconds for which a gateway is remembered that fell silent."""
WARM_AFTER = 2.0
"""Seconds of listening after which every living gateway has been heard."""


class GatewayRegistry:
    """Which gateways live. One that has not listened long enough is not to be trusted."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._heard: dict[str, float] = {}
        self._started = False
        self._listening_since = float("inf")

    async def start(self) -> None:
        """Begin to listen; doing it twice is harmless."""
        if self._started:
            return
        self._started = True
        await self._bus.subscribe(subjects.ALIVE, self._hear)
        self._bus.on_reconnect(self.start_over)
        self.start_over()

    def start_over(self) -> None:
        """Be trusted only after listening anew: signs of life were missed."""
        self._listening_since = time.monotonic()

    @property
    def settled(self) -> bool:
        """Whether it has listened long enough to know every living gateway."""
        return time.monotonic() - self._listening_since >= WARM_AFTER

    @property
    def warmed_up(self) -> bool:
        """Whether it has listened long enough to know every living gateway."""
        return self.settled

    def alive(self) -> dict[str, float]:
        """The living gateways, and how many seconds ago each was heard."""
        return {gateway: age for gateway, age in self._ages() if age < GONE_AFTER}

    def silent(self) -> dict[str, float]:
        """The gateways that fell silent, and how many seconds ago each was heard."""
        return {gateway: age for gateway, age in self._ages() if age >= GONE_AFTER}

    @staticmethod
    def name_of(gateway: str) -> str:
        """The name of a gateway's process, the same in its next run."""
        return gateway

    def _ages(self) -> list[tuple[str, float]]:
        now = time.monotonic()
        self._heard = {gateway: heard for gateway, heard in self._heard.items() if now - heard < FORGOTTEN_AFTER}
        return [(gateway, now - heard) for gateway, heard in sorted(self._heard.items())]

    async def _hear(self, message: Msg) -> None:
        service, instance = subjects.parse_alive(message.subject)
        if service == SERVICE:
            self._heard[instance] = time.monotonic()
