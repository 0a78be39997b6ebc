"""The gateways: which are alive, and asking all of them at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from nats.aio.msg import Msg

from parley.auth.metrics import KICKED_CONNECTIONS, KICKS
from parley.common import subjects
from parley.common.bus import Bus
from parley.common.envelope import Connection, ConnectionList, Kick, Kicked, ListConnections
from parley.common.errors import Code

SERVICE = "gateway"
GONE_AFTER = 3.0
"""Seconds without a sign of life after which a gateway is gone; it sends one each second."""
WARM_AFTER = 2.0
"""Seconds of listening after which every living gateway has been heard."""
ANSWER_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class KickResult:
    """How many connections were ended, and the living gateways that did not answer in time."""

    disconnected: int
    unanswered: list[str]


class Gateways:
    """The directory of living gateways, and requests to all of them.

    An answer is complete when every gateway in the directory has given one. A directory that has not listened long
    enough is not trusted: then everything that arrives within the timeout counts.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._heard: dict[str, float] = {}
        self._listening_since = float("inf")

    async def start(self) -> None:
        """Begin to listen for signs of life."""
        await self._bus.subscribe(subjects.ALIVE, self._hear)
        self._bus.on_reconnect(self.start_over)
        self.start_over()

    def start_over(self) -> None:
        """Trust the directory only after listening anew: signs of life were missed."""
        self._listening_since = time.monotonic()

    @property
    def settled(self) -> bool:
        """Whether it has listened long enough to know every living gateway."""
        return time.monotonic() - self._listening_since >= WARM_AFTER

    def alive(self) -> dict[str, float]:
        """The living gateways, and how many seconds ago each was heard."""
        now = time.monotonic()
        self._heard = {gateway: heard for gateway, heard in self._heard.items() if now - heard < GONE_AFTER}
        return {gateway: now - heard for gateway, heard in sorted(self._heard.items())}

    async def kick(self, user_id: str, code: Code, reason: str) -> KickResult:
        """End every connection of a user; `code` and `reason` are what the client is told."""
        KICKS.labels(str(code)).inc()
        expected, settled = set(self.alive()), self.settled
        answers: list[Kicked] = []
        if expected or not settled:
            answers = await self._bus.gather(
                subjects.KICK,
                Kick(user_id, str(code), reason),
                Kicked,
                enough=lambda so_far: settled and expected <= {answer.gateway for answer in so_far},
                timeout=ANSWER_TIMEOUT,
            )
        disconnected = sum(answer.disconnected for answer in answers)
        KICKED_CONNECTIONS.inc(disconnected)
        return KickResult(disconnected, self._missing(expected, [answer.gateway for answer in answers]))

    async def connections(self, user_id: str, limit: int) -> tuple[list[Connection], list[str]]:
        """Live connections, of one user or of all (""), oldest first, and the gateways that did not answer."""
        expected, settled = set(self.alive()), self.settled
        answers: list[ConnectionList] = []
        if expected or not settled:
            answers = await self._bus.gather(
                subjects.CONNECTIONS,
                ListConnections(user_id, limit),
                ConnectionList,
                enough=lambda so_far: settled and expected <= {answer.gateway for answer in so_far},
                timeout=ANSWER_TIMEOUT,
            )
        found = [connection for answer in answers for connection in answer.connections]
        found.sort(key=lambda connection: connection.connected_at)
        return found[:limit], self._missing(expected, [answer.gateway for answer in answers])

    def _missing(self, expected: set[str], answered: Sequence[str]) -> list[str]:
        return sorted(expected - set(answered))

    async def _hear(self, message: Msg) -> None:
        service, instance = subjects.parse_alive(message.subject)
        if service == SERVICE:
            self._heard[instance] = time.monotonic()
