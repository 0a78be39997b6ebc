"""Connection state recovery: a client that lost its transport comes back, to any gateway, as if nothing had happened.

It is Socket.IO's own protocol ("Connection state recovery"): CONNECT is answered with a private `pid`, events end with
an offset, and a client that returns names both. The gateway that lost it is asked twice: whether it has the connection
and whose it is, so that the service is asked about the sid that it will have; and last of all, with everything else
settled, for its rooms and what it lacks. Token, ban and memberships are checked in between as always, and events are
read from the log.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol, Self

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
"""Seconds to wait for another gateway; a client that is not recovered loses nothing but time."""
SWEEP_INTERVAL = 1.0
MAX_TEXT = 256
MAX_MOVES = 4
"""Gateways asked for one connection, each of which says where it went."""
CLAIMED_SECONDS = 5.0
"""Seconds in which what another gateway has claimed may be given back."""


def make_offsets(address: str, namespaces: Mapping[str, Namespace]) -> dict[str, PacketHistory]:
    """Offsets for each namespace that recovers connections."""
    return {name: PacketHistory(address) for name, namespace in namespaces.items() if namespace.recovery}


class Resumption(NamedTuple):
    """What a client names when it comes back: its private id, and the offset of the last event that it received."""

    pid: str
    offset: str

    @classmethod
    def of(cls, auth: Mapping[str, Any]) -> Self | None:
        """What is in the payload of CONNECT; None when there is nothing well-formed."""
        pid, offset = auth.get("pid"), auth.get("offset", "")
        if not isinstance(pid, str) or not isinstance(offset, str) or not pid or max(len(pid), len(offset)) > MAX_TEXT:
            return None
        return cls(pid, offset)

    @property
    def holder(self) -> str:
        """The gateway to ask first: who sent the last event has the connection, who gave the pid knows where it is."""
        return self.offset.rpartition("-")[0] or self.pid.rpartition(".")[0]


class TakenElsewhere(Reject):
    """Somebody else has claimed the connection, and goes on under its sid."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "This connection is being recovered elsewhere; try again.")


class FoundConnection(NamedTuple):
    """A parked connection that was found, and what to ask its holder next."""

    holder: str
    question: Recover
    answer: Recovered


class Parking(Protocol):
    """What the fanout does for a lost connection. Rooms stand above recovery, whose packet history they write."""

    def park(self, connection: Connection) -> dict[str, int]:
        """Keep hearing its rooms that have no log, and leave the others. Returns the heads of those, by room."""
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
        """The gateway that is about to let the client in, which may yet fail."""

    def belongs_to(self, question: Recover) -> bool:
        """Whether who asks may have it: its user, or for a guest whoever knows the pid."""
        connection = self.connection
        if connection.namespace != question.namespace:
            return False
        if not question.user_id:
            return connection.guest
        return connection.identity.user_id == question.user_id


class Recovery:
    """The lost connections of this gateway, and the way to those of others."""

    def __init__(
        self, bus: Bus, namespaces: Mapping[str, Namespace], offsets: Mapping[str, PacketHistory], parking: Parking
    ) -> None:
        self._bus = bus
        self._offsets = offsets
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
                subjects.recover(self._bus.address), Recover, self._answer, queue=self._bus.instance
            )

    async def close(self) -> None:
        """Stop what still runs."""
        await self._tasks.close()

    @property
    def waits(self) -> bool:
        """Whether anybody may still come back."""
        return any(not parked.claimed_by for parked in self._parked.values())

    # -- the connections of this gateway ---------------------------------------------------------------------------

    @property
    def parked(self) -> list[Connection]:
        """Those that have gone and may still come back."""
        return [parked.connection for parked in self._parked.values()]

    def begin(self, connection: Connection, pid: str, offset: str = "") -> None:
        """Give a connection its private id, the one it had if it was recovered.

        `offset` is what its client named when it came.
        """
        if connection.namespace in self._seconds:
            connection.pid = pid or f"{self._bus.address}.{secrets.token_urlsafe(15)}"
            connection.first_offset = self._offsets[connection.namespace].number
            connection.came_with = offset
            if connection.pid in self._parked:
                self._drop(connection.pid)  # it had gone elsewhere, and is back before that was forgotten here
            self._moved.pop(connection.pid, None)
            self._live[connection.pid] = connection

    def lose(self, connection: Connection, *, recoverable: bool) -> bool:
        """A connection has lost its client. Whether it was parked, with what it needs to come back."""
        if self._live.pop(connection.pid, None) is None or not recoverable or len(self._parked) >= MAX_PARKED:
            return False
        rooms = {*connection.rooms, connection.sid}
        heads = self._parking.park(connection)
        expires = time.monotonic() + self._seconds[connection.namespace]
        self._parked[connection.pid] = ParkedConnection(connection, heads, rooms, expires)
        return True

    def forget(self, user_id: str, sessions: Collection[str] = (), born_before: float = math.inf) -> None:
        """None of a user's lost connections may come back, or none of those of some sessions, or of before a moment."""
        parked = [(pid, parked.connection) for pid, parked in self._parked.items()]
        for pid, connection in parked:
            identity = connection.identity
            if identity.user_id != user_id or connection.registered_at > born_before:
                continue
            if not sessions or identity.session in sessions:
                self._drop(pid)

    def forget_all(self, namespace: str) -> None:
        """None of a namespace's lost connections may come back: what they were sent is of a log that is no more."""
        for pid in [pid for pid, parked in self._parked.items() if parked.connection.namespace == namespace]:
            self._drop(pid)

    def forget_connection(self, connection: Connection) -> None:
        """This lost connection may not come back."""
        if (parked := self._parked.get(connection.pid)) is not None and parked.connection is connection:
            self._drop(connection.pid)

    def _drop(self, pid: str) -> None:
        connection = self._parked.pop(pid).connection
        connection.state = ConnectionState.ENDED
        # Whoever comes back to this gateway enters the same rooms in this tick, and misses nothing between the two.
        asyncio.get_running_loop().call_soon(self._parking.leave_all, connection)

    async def run_sweep(self) -> None:
        """Forget, for ever, who did not come back in time."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            now = time.monotonic()
            for pid in [pid for pid, parked in self._parked.items() if parked.expires < now]:
                self._drop(pid)

    # -- a client comes back ---------------------------------------------------------------------------------------

    async def find(self, namespace: str, user_id: str, resumption: Resumption | None) -> FoundConnection | None:
        """The parked connection that a client says it had, if it is there and theirs."""
        if resumption is None or namespace not in self._seconds:
            return None
        question = Recover(self._bus.address, namespace, user_id, resumption.pid, resumption.offset, "look")
        holder = resumption.holder
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
        """Take a connection that was found. Nothing may be waited for from here to CONNECT. Raises `Reject`."""
        looked = found.question
        question = Recover(looked.gateway, looked.namespace, user_id, looked.pid, looked.offset, "claim")
        try:
            answer = await self._ask(found.holder, question)
        except asyncio.CancelledError:
            # The client has gone meanwhile, and the claim may have arrived.
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
        """A claim could not be used."""
        looked = found.question
        question = Recover(looked.gateway, looked.namespace, looked.user_id, looked.pid, looked.offset, "return")
        self._tasks.spawn(self._return(found.holder, question), name="give back")

    async def _return(self, holder: str, question: Recover) -> None:
        await self._ask(holder, question)

    async def _ask(self, gateway: str, question: Recover) -> Recovered:
        if gateway == self._bus.address:
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
        if question.step == "look" and live is not None and _same(live, question):
            # Its old transport is dead; only this end has not noticed yet.
            live.session.end(DisconnectReason.TRANSPORT_CLOSE)
        parked = self._parked.get(pid)
        if parked is None or not parked.belongs_to(question):
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
        offsets = self._offsets[connection.namespace]
        number = offsets.parse(question.offset, 0)
        if number <= connection.first_offset:
            # It has received nothing since it came, and names the offset that it came with. Another one says that it
            # went on elsewhere, while an attempt that it had given up took the connection here.
            if question.offset != connection.came_with:
                self._drop(pid)
                return Recovered()
            # What it lacked when it began was sent anew after that.
            number = connection.first_offset
        lacks = offsets.since(number, connection.sid, parked.heads, parked.rooms)
        if lacks is None or parked.expires < time.monotonic():
            self._drop(pid)
            return Recovered()
        if question.step == "look":
            return Recovered(connection.sid, rooms=list(connection.joined_ad_hoc or ()), identity=connection.identity)
        if question.gateway == self._bus.address:
            self._drop(pid)
        else:
            parked.claimed_by = question.gateway
            parked.expires = min(parked.expires, time.monotonic() + CLAIMED_SECONDS)
            self._moved[pid] = question.gateway
            if len(self._moved) > MAX_PARKED:
                self._moved.popitem(last=False)
        cursors, missed = lacks
        for room, had in (connection.ahead or {}).items():
            # The room's events up to there came here later than it did, and were sent to others.
            if room in cursors:
                cursors[room] = max(cursors[room], min(had, parked.heads[room]))
        return Recovered(
            connection.sid, "", cursors, list(connection.joined_ad_hoc or ()), missed, connection.data,
            connection.identity, boot_time() - connection.registered_at,
        )  # fmt: skip


def _same(live: Connection, question: Recover) -> bool:
    if live.namespace != question.namespace:
        return False
    return live.identity.user_id == question.user_id if question.user_id else live.guest
