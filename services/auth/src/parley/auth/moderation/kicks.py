"""What administrators have gateways do: kick a user, list who is connected."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from parley.auth.metrics import KICKED_CONNECTIONS, KICKS_SENT
from parley.common.process.logs import get_logger
from parley.common.wire import subjects
from parley.common.wire.operations import (
    FetchedConnections,
    Kick,
    ListConnections,
    OperationReport,
    Recheck,
    RenewAddressBans,
    Selection,
)
from parley.framework import Code, ConnectionInfo, Reject
from parley.framework.remote.gateway_requests import GatewayRequests
from parley.framework.remote.reply_collector import GatewayReplies

log = get_logger(__name__)

ANSWER_TIMEOUT = 2.0
MAX_WAITING = 1000
"""Kicks that wait for a connection to NATS. Further ones are refused, and carried out later from the record."""


@dataclass(frozen=True, slots=True)
class KickResult:
    """How many connections were ended, and the names of the gateways that may hold more.

    These are the living ones that did not answer in time, and those that fell silent: one that stands still ends the
    connections when it goes on.
    """

    disconnected: int
    unanswered: list[str]
    owing: tuple[str, ...] = ()
    """The addresses of those gateways."""


@dataclass(frozen=True, slots=True)
class KickOrder:
    """Whose connections are to end, and what their clients are told. `kick_records` follows it up by its id."""

    id: str
    users: tuple[str, ...]
    ranges: tuple[str, ...]
    code: Code
    reason: str

    def operation(self, min_age: float = 0.0) -> Kick:
        """Return what gateways are sent, for connections of so many seconds' age at least."""
        selection = (
            Selection("", user_id=self.users[0])
            if len(self.users) == 1 and not self.ranges
            else Selection("", users=self.users, ranges=self.ranges)
        )
        return Kick(selection, subjects.kicked(self.id), str(self.code), self.reason, min_age)


class Gateways:
    """Has all gateways kick and list, and says which of them may hold more than they have said."""

    def __init__(self, requests: GatewayRequests) -> None:
        self._requests = requests
        self._waiting: dict[str, tuple[KickOrder, float]] = {}
        """Kicks for which there was no connection, by their ids, and since when they count."""
        requests.bus.on_reconnect(self._send_waiting)

    async def kick(self, order: KickOrder, min_age: float = 0.0) -> KickResult:
        """End the connections that an order names, on every gateway, of so many seconds' age at least.

        It is sent whoever seems to be alive; without a connection, as soon as there is one. Raises `Reject` when it
        cannot even wait for that.
        """
        KICKS_SENT.labels(str(order.code)).inc()
        if not self._requests.bus.connected:
            if len(self._waiting) >= MAX_WAITING:
                raise Reject(Code.UNAVAILABLE)
            # Not in the bus: what waits there says when it arrives that all are meant, also who came meanwhile.
            self._waiting.setdefault(order.id, (order, time.monotonic() - min_age))
            # Every gateway that is known owes an answer, so that the records follow each of them up.
            return self._nobody_answered()
        kick = order.operation(min_age)
        replies = await self._requests.request(
            lambda _inbox: kick, "", OperationReport, ANSWER_TIMEOUT, inbox=kick.inbox
        )
        KICKED_CONNECTIONS.inc(replies.matched)
        return self._result(replies)

    async def kick_late(self, order: KickOrder, address: str, min_age: float) -> None:
        """Have one gateway, which did not answer, end what is as old as the order at least. Raises `Reject`.

        Without a connection it is not told: its order would be older by the time it was sent.
        """
        if self._requests.bus.connected:
            await self._requests.send(order.operation(min_age), address)

    async def renew_address_bans(self) -> KickResult:
        """Have gateways ask which ranges are banned, and end who is from one; says how many were ended."""
        return await self._request(RenewAddressBans(Selection(""), ""))

    async def recheck(self, users: Collection[str]) -> KickResult:
        """Have gateways ask now who some users are and whether they may stay; `disconnected` counts their connections.

        What they ask about is committed before. So a gateway that misses this learns it as soon as it asks of itself.
        """
        return await self._request(Recheck(Selection("", users=tuple(users)), ""))

    async def _request(self, news: Recheck | RenewAddressBans) -> KickResult:
        try:
            replies = await self._requests.request(
                lambda inbox: msgspec.structs.replace(news, inbox=inbox), "", OperationReport, ANSWER_TIMEOUT
            )
        except Reject as rejection:
            log.warning("gateways are not told of a change", code=str(rejection.code))
            return self._nobody_answered()
        return self._result(replies)

    async def end_sessions(self, user_id: str, sessions: Iterable[str]) -> None:
        """End the connections of some sessions of a user, everywhere, without waiting for it.

        The sessions have ended in the database before. So whoever misses this, and whoever cannot be told now, finds
        out as soon as they ask who is still welcome.
        """
        # Without an answer, unlike a kick: what is missed is found out by asking who is welcome, so nothing has to be
        # followed up.
        ended = tuple(sessions)
        if not ended:
            return
        KICKS_SENT.labels(str(Code.REVOKED_TOKEN)).inc()
        selection = Selection("", user_id=user_id, logins=ended)
        try:
            await self._requests.send(Kick(selection, "", str(Code.REVOKED_TOKEN), "This session was ended."), "")
        except Reject as rejection:
            log.warning("gateways are not told that a session ended", user=user_id, code=str(rejection.code))

    async def connections(self, user_id: str, limit: int) -> tuple[list[ConnectionInfo], list[str]]:
        """Return live connections, of one user or of all (""), oldest first, and the gateways that may hold more."""
        selection = Selection("", user_id=user_id)
        replies = await self._requests.request(
            lambda inbox: ListConnections(selection, inbox, limit), "", FetchedConnections, ANSWER_TIMEOUT
        )
        found = [connection for page in replies.received for connection in page.connections]
        found.sort(key=lambda connection: connection.connected_at)
        return found[:limit], self._names((*replies.unanswered, *replies.silent))

    def alive(self) -> dict[str, float]:
        """Return the names of the living gateways, and how many seconds ago each was heard."""
        registry = self._requests.registry
        return {registry.name_of(address): ago for address, ago in registry.alive().items()}

    def is_forgotten(self, address: str) -> bool:
        """Whether a gateway has gone for good, as far as anybody can tell: it said so, or was silent for minutes."""
        registry = self._requests.registry
        # Until it has listened for a while the registry knows nobody, and would take every gateway for gone.
        return registry.warmed_up and address not in registry.alive() and address not in registry.silent()

    def is_alive(self, address: str) -> bool:
        """Return whether a gateway was heard lately."""
        return address in self._requests.registry.alive()

    def name_of(self, address: str) -> str:
        """Return the name of a gateway."""
        return self._requests.registry.name_of(address)

    def _send_waiting(self) -> None:
        """Send what waited for a connection, for what is as old as the order at least."""
        waiting, self._waiting = self._waiting, {}
        for order, since in waiting.values():
            # Never 0, which means all.
            kick = order.operation(max(0.001, time.monotonic() - since))
            self._requests.bus.send(subjects.GATEWAYS, kick.encode())

    def _nobody_answered(self) -> KickResult:
        known = {*self._requests.registry.alive(), *self._requests.registry.silent()}
        return KickResult(0, self._names(known), tuple(sorted(known)))

    def _result(self, replies: GatewayReplies[OperationReport]) -> KickResult:
        owing = (*replies.unanswered, *replies.silent)
        return KickResult(replies.matched, self._names(owing), owing)

    def _names(self, addresses: Iterable[str]) -> list[str]:
        return sorted({self._requests.registry.name_of(address) for address in addresses})
