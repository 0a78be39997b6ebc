"""Connection state recovery: a client that lost its transport comes back, to any gateway, as if nothing had happened.

This is Socket.IO's own protocol (Socket.IO v5 protocol, "Connection state recovery"): CONNECT is answered with a
private `pid`, events end with an offset, and a client that comes back sends both. The gateway that lost it is asked
in two steps, and the second may be taken back:

    1. `look`: does it have the connection, and whose is it? Then the service can be asked about the sid it will have.
    2. `claim`, when everything else is settled: its rooms, and what it lacks.
    3. `return`, only if the client is gone by then: somebody else may claim it.

In between, token, ban and memberships are checked as always. Events are read from the log.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol, Self

from msgspec.structs import replace
from prometheus_client import Counter

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.recovery import Recover, Recovered
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.namespaces import Namespace
from parley.gateway.process.boot_clock import boot_time
from parley.gateway.recovery.packet_history import PacketHistory

RECOVERIES = Counter("parley_gateway_recoveries_total", "Returning clients by outcome", ["outcome"])

MAX_PARKED = 20_000
TIMEOUT = 1.0
"""Seconds to wait for another gateway. A client that is not recovered loses nothing but time."""
SWEEP_INTERVAL = 1.0
# Characters of a pid or an offset. Ours have about 60.
MAX_TEXT = 256
MAX_MOVES = 4
"""Gateways that are asked for one connection, each of which may say where it went."""
CLAIMED_SECONDS = 5.0
"""Seconds in which another gateway may return what it has claimed."""


def make_histories(address: str, namespaces: Mapping[str, Namespace]) -> dict[str, PacketHistory]:
    """Make a packet history for each namespace that recovers connections."""
    return {name: PacketHistory(address) for name, namespace in namespaces.items() if namespace.recovery}


class RecoveryToken(NamedTuple):
    """What a client sends when it comes back: its private id, and the offset of the last event that it received."""

    pid: str
    offset: str

    @classmethod
    def of(cls, auth: Mapping[str, Any]) -> Self | None:
        """Return what the payload of CONNECT has of this; None if nothing is well-formed."""
        pid, offset = auth.get("pid"), auth.get("offset", "")
        if not isinstance(pid, str) or not isinstance(offset, str) or not pid or max(len(pid), len(offset)) > MAX_TEXT:
            return None
        return cls(pid, offset)

    @property
    def holder(self) -> str:
        """The gateway to ask first.

        The gateway that sent the last event has the connection. Without an event, the gateway that gave the pid knows
        where the connection is.
        """
        # An offset is a run's address, `-` and a number (`PacketHistory`), and a pid an address, `.` and a secret
        # (`begin`).
        return self.offset.rpartition("-")[0] or self.pid.rpartition(".")[0]


class TakenElsewhere(Reject):
    """Another attempt has claimed the connection, and goes on under its sid."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "This connection is being recovered elsewhere; try again.")


class FoundConnection(NamedTuple):
    """A parked connection that was found, its gateway, and what to ask that gateway next."""

    holder: str
    question: Recover
    answer: Recovered


class Parking(Protocol):
    """What the fanout does for a lost connection. `rooms` stands above this package, and writes its packet history."""

    def park(self, connection: Connection) -> dict[str, int]:
        """Keep hearing its rooms that have no log, and leave the others.

        Returns these with the last event that it was sent.
        """
        ...

    def leave_all(self, connection: Connection) -> None:
        """Take a connection out of every room it is in, for ever."""
        ...


class ParkedConnection:
    """A connection that has lost its client."""

    __slots__ = ("claimed_by", "connection", "expires", "heads", "rooms")

    def __init__(self, connection: Connection, heads: dict[str, int], rooms: set[str], expires: float) -> None:
        self.connection = connection
        self.heads = heads
        self.rooms = rooms
        self.expires = expires
        self.claimed_by = ""
        """The gateway that is about to let the client in, which may still fail."""


class Recovery:
    """The parked connections of this gateway, and the way to those of others."""

    def __init__(
        self, bus: Bus, namespaces: Mapping[str, Namespace], histories: Mapping[str, PacketHistory], parking: Parking
    ) -> None:
        self._bus = bus
        self._histories = histories
        self._parking = parking
        self._seconds = {name: namespace.recovery for name, namespace in namespaces.items() if namespace.recovery}
        self._live: dict[str, Connection] = {}
        self._parked: OrderedDict[str, ParkedConnection] = OrderedDict()
        self._moved: OrderedDict[str, str] = OrderedDict()
        self._tasks = Tasks()

    async def start(self) -> None:
        """Begin to answer other gateways."""
        if self._seconds:
            await self._bus.respond(
                subjects.recover(self._bus.run_address), Recover, self._answer, queue=self._bus.instance
            )

    async def close(self) -> None:
        """Cancel what still runs."""
        await self._tasks.close()

    @property
    def waits(self) -> bool:
        """Whether any client may still come back."""
        return any(not parked.claimed_by for parked in self._parked.values())

    # -- the connections of this gateway ---------------------------------------------------------------------------

    @property
    def parked(self) -> list[Connection]:
        """The parked connections."""
        return [parked.connection for parked in self._parked.values()]

    def begin(self, connection: Connection, pid: str, offset: str = "") -> None:
        """Give a connection its private id; a recovered one keeps the one it had.

        `offset` is the one that its client sent with CONNECT.
        """
        if connection.namespace in self._seconds:
            connection.pid = pid or f"{self._bus.run_address}.{secrets.token_urlsafe(15)}"
            # Whatever was sent here before is not for it: it lacks what comes behind this number.
            connection.first_offset = self._histories[connection.namespace].number
            connection.came_with = offset
            if connection.pid in self._parked:
                self._drop(connection.pid)  # it had gone elsewhere, and is back before that was forgotten here
            self._moved.pop(connection.pid, None)
            self._live[connection.pid] = connection

    def lose(self, connection: Connection, *, recoverable: bool) -> bool:
        """Park a connection that has lost its client, if it may come back. Returns whether it was parked."""
        # A connection that is not parked is simply ended, so the limit costs clients a new connection and nothing else.
        if self._live.pop(connection.pid, None) is None or not recoverable or len(self._parked) >= MAX_PARKED:
            return False
        # Noted before it is parked, which takes it out of the rooms that have a log.
        rooms = {*connection.rooms, connection.sid}
        heads = self._parking.park(connection)
        expires = time.monotonic() + self._seconds[connection.namespace]
        self._parked[connection.pid] = ParkedConnection(connection, heads, rooms, expires)
        return True

    def forget(self, user_id: str, logins: Collection[str] = (), born_before: float = math.inf) -> None:
        """Drop all parked connections of a user, or those of some logins, that were registered before a moment."""

        def concerned(parked: ParkedConnection) -> bool:
            connection = parked.connection
            if connection.identity.user_id != user_id or connection.registered_at > born_before:
                return False
            return not logins or connection.identity.login in logins

        self._drop_all(concerned)

    def forget_all(self, namespace: str) -> None:
        """Drop all parked connections of a namespace, because the log of what they were sent was restored."""
        self._drop_all(lambda parked: parked.connection.namespace == namespace)

    def forget_connection(self, connection: Connection) -> None:
        """Drop one parked connection."""
        if (parked := self._parked.get(connection.pid)) is not None and parked.connection is connection:
            self._drop(connection.pid)

    def _drop_all(self, dropped: Callable[[ParkedConnection], bool]) -> None:
        for pid in [pid for pid, parked in self._parked.items() if dropped(parked)]:
            self._drop(pid)

    def _drop(self, pid: str) -> None:
        connection = self._parked.pop(pid).connection
        connection.state = ConnectionState.ENDED
        # Not at once: a client that comes back to this gateway enters the same rooms in this turn of the loop, and they
        # must not be closed and opened again in between.
        asyncio.get_running_loop().call_soon(self._parking.leave_all, connection)

    async def run_sweep(self) -> None:
        """Drop, for ever, the connections whose clients did not come back in time."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            now = time.monotonic()
            self._drop_all(lambda parked: parked.expires < now)  # noqa: B023 - called before the next turn

    # -- a client comes back ---------------------------------------------------------------------------------------

    async def find(self, namespace: str, user_id: str, recovery_token: RecoveryToken | None) -> FoundConnection | None:
        """Return the parked connection that a client says it had, if there is one and it is theirs."""
        if recovery_token is None or namespace not in self._seconds:
            return None
        question = Recover(self._bus.run_address, namespace, user_id, recovery_token.pid, recovery_token.offset, "look")
        holder = recovery_token.holder
        # It may have gone on from gateway to gateway. Each remembers the next one, and a circle ends by the bound.
        for _ in range(MAX_MOVES):
            answer = await self._ask(holder, question)
            if answer.sid:
                return FoundConnection(holder, question, answer)
            if not answer.moved_to:
                break
            holder = answer.moved_to
        RECOVERIES.labels("unknown").inc()
        return None

    async def claim(self, found: FoundConnection, user_id: str) -> Recovered:
        """Take a connection that was found. From here to CONNECT nothing may be awaited. Raises `Reject`."""
        try:
            answer = await self._ask(found.holder, replace(found.question, user_id=user_id, step="claim"))
        except asyncio.CancelledError:
            # The client is gone, and the claim may have arrived.
            self.give_back(found)
            raise
        if not answer.sid:
            RECOVERIES.labels("lost").inc()
            if answer.moved_to:
                raise TakenElsewhere
            self.give_back(found)  # its answer may just be late
            raise Reject(Code.UNAVAILABLE)
        RECOVERIES.labels("recovered").inc()
        return answer

    def give_back(self, found: FoundConnection) -> None:
        """Return a connection whose claim could not be used."""
        self._tasks.spawn(self._return(found), name="give back")

    async def _return(self, found: FoundConnection) -> None:
        await self._ask(found.holder, replace(found.question, step="return"))

    async def _ask(self, gateway: str, question: Recover) -> Recovered:
        if gateway == self._bus.run_address:
            return self._on_recover(question)
        try:
            return await self._bus.request(subjects.recover(gateway), question, Recovered, timeout=TIMEOUT)
        except Reject:
            return Recovered()

    # -- what is asked of this gateway -----------------------------------------------------------------------------

    async def _answer(self, question: Recover) -> Recovered:
        return self._on_recover(question)

    def _on_recover(self, question: Recover) -> Recovered:
        pid = question.pid
        live = self._live.get(pid)
        if question.step == "look" and live is not None and _belongs(live, question):
            # Its client is back, so its old transport is dead, although this side has not noticed yet.
            live.session.fail(DisconnectReason.TRANSPORT_CLOSE)
        parked = self._parked.get(pid)
        if parked is None or not _belongs(parked.connection, question):
            return Recovered(moved_to=self._moved.get(pid, ""))
        if parked.claimed_by:
            if question.step == "return" and parked.claimed_by == question.gateway:
                parked.claimed_by = ""
                self._moved.pop(pid, None)
                return Recovered()
            return Recovered(moved_to=parked.claimed_by)
        return Recovered() if question.step == "return" else self._show(parked, question)

    def _show(self, parked: ParkedConnection, question: Recover) -> Recovered:
        pid, connection = question.pid, parked.connection
        history = self._histories[connection.namespace]
        number = history.parse(question.offset, 0)
        if number <= connection.first_offset:
            # The client has received nothing since it came, so it sends the offset that it came with. Another offset
            # means that it went on elsewhere, while an attempt that it had given up took the connection here.
            if question.offset != connection.came_with:
                self._drop(pid)
                return Recovered()
            # What it lacked when it came was sent after that number.
            number = connection.first_offset
        lacks = history.missed_after(number, connection.sid, parked.heads, parked.rooms)
        if lacks is None or parked.expires < time.monotonic():
            self._drop(pid)
            return Recovered()
        if question.step == "look":
            return Recovered(connection.sid, rooms=list(connection.joined_ad_hoc or ()), identity=connection.identity)
        # Nothing can get lost on the way to itself.
        if question.gateway == self._bus.run_address:
            self._drop(pid)
        else:
            # Not dropped yet: the claim's answer may be lost, and then it is given back.
            parked.claimed_by = question.gateway
            parked.expires = min(parked.expires, time.monotonic() + CLAIMED_SECONDS)
            self._moved[pid] = question.gateway
            if len(self._moved) > MAX_PARKED:
                self._moved.popitem(last=False)
        cursors, missed = lacks
        for room, had in (connection.ahead or {}).items():
            # It had these events when it came. The gateway got them later, and sent them to others.
            if room in cursors:
                cursors[room] = max(cursors[room], min(had, parked.heads[room]))
        return Recovered(
            connection.sid, "", cursors, list(connection.joined_ad_hoc or ()), missed, connection.data,
            connection.identity, boot_time() - connection.registered_at,
        )  # fmt: skip


def _belongs(connection: Connection, question: Recover) -> bool:
    """Return whether the client may have a connection: if it is its user, or a guest who knows the pid."""
    if connection.namespace != question.namespace:
        return False
    return connection.identity.user_id == question.user_id if question.user_id else connection.guest
