"""What administrators have gateways do: kick a user, list who is connected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parley.auth.metrics import KICKED_CONNECTIONS, KICKS
from parley.common.process.logs import get_logger
from parley.common.wire.operations import FetchedConnections, Kick, ListConnections, OperationReport, Selection
from parley.framework import Code, ConnectionInfo, Reject
from parley.framework.remote.gateway_requests import GatewayRequests
from parley.framework.remote.reply_collector import GatewayReplies, ReplyT

log = get_logger(__name__)

ANSWER_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class KickResult:
    """How many connections were ended, and the names of the gateways that may hold more.

    These are the living ones that did not answer in time, and those that fell silent: one that stands still ends the
    connections when it goes on.
    """

    disconnected: int
    unanswered: list[str]


class Gateways:
    """Kicks and lists on all gateways."""

    def __init__(self, requests: GatewayRequests) -> None:
        self._requests = requests

    async def kick(self, user_id: str, code: Code, reason: str) -> KickResult:
        """End every connection of a user; `code` and `reason` are what the client is told.

        It is sent whoever seems to be alive; without a connection, as soon as there is one. Raises `Reject` when it
        cannot even wait for that.
        """
        KICKS.labels(str(code)).inc()
        selection = Selection("", user_id=user_id)
        if not self._requests.bus.connected:
            await self._requests.send(Kick(selection, "", str(code), reason), "")
            known = {*self._requests.registry.alive(), *self._requests.registry.silent()}
            return KickResult(0, self._names(known))
        replies = await self._requests.request(
            lambda inbox: Kick(selection, inbox, str(code), reason), "", OperationReport, ANSWER_TIMEOUT
        )
        KICKED_CONNECTIONS.inc(replies.matched)
        return KickResult(replies.matched, self._unanswered(replies))

    async def end_sessions(self, user_id: str, sessions: Iterable[str]) -> None:
        """End the connections of some sessions of a user, everywhere, without waiting for it.

        The sessions have ended in the database before. So whoever misses this, and whoever cannot be told now, finds
        out as soon as they ask who is still welcome.
        """
        ended = tuple(sessions)
        if not ended:
            return
        KICKS.labels(str(Code.REVOKED_TOKEN)).inc()
        selection = Selection("", user_id=user_id, sessions=ended)
        try:
            await self._requests.send(Kick(selection, "", str(Code.REVOKED_TOKEN), "This session was ended."), "")
        except Reject as rejection:
            log.warning("gateways are not told that a session ended", user=user_id, code=str(rejection.code))

    async def connections(self, user_id: str, limit: int) -> tuple[list[ConnectionInfo], list[str]]:
        """Live connections, of one user or of all (""), oldest first, and the gateways that may hold more."""
        selection = Selection("", user_id=user_id)
        replies = await self._requests.request(
            lambda inbox: ListConnections(selection, inbox, limit), "", FetchedConnections, ANSWER_TIMEOUT
        )
        found = [connection for page in replies.received for connection in page.connections]
        found.sort(key=lambda connection: connection.connected_at)
        return found[:limit], self._unanswered(replies)

    def alive(self) -> dict[str, float]:
        """The names of the living gateways, and how many seconds ago each was heard."""
        registry = self._requests.registry
        return {registry.name_of(address): ago for address, ago in registry.alive().items()}

    def _unanswered(self, replies: GatewayReplies[ReplyT]) -> list[str]:
        return self._names((*replies.unanswered, *replies.silent))

    def _names(self, addresses: Iterable[str]) -> list[str]:
        return sorted({self._requests.registry.name_of(address) for address in addresses})
