"""The gateways: which are alive, and asking all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parley.auth.metrics import KICKED_CONNECTIONS, KICKS
from parley.common import subjects
from parley.common.wire.operations import ConnectionList, Kick, Kicked, ListConnections
from parley.framework import Code, ConnectionInfo
from parley.framework.gateway_registry import GatewayRegistry

ANSWER_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class KickResult:
    """How many connections were ended, and the living gateways that did not answer in time."""

    disconnected: int
    unanswered: list[str]


class Gateways(GatewayRegistry):
    """The directory of living gateways, and requests to all of them.

    An answer is complete when every gateway in the directory has given one. A directory that has not listened long
    enough is not trusted: then everything that arrives within the timeout counts.
    """

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

    async def connections(self, user_id: str, limit: int) -> tuple[list[ConnectionInfo], list[str]]:
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
