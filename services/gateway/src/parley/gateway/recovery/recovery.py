"""Connection state recovery: a client that lost its transport comes back, to any gateway, as if nothing had happened.

It is Socket.IO's own protocol: CONNECT is answered with a private `pid`, events end with an offset, and a client that
returns names both. The gateway that lost it gives away, once, its sid, its rooms and what it lacks. Token, ban and
memberships are checked again all the same, and events are read from the log.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from prometheus_client import Counter

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.disconnects import RECOVERABLE, DisconnectReason
from parley.common.errors import Reject
from parley.common.wire.recovery import Recover, Recovered
from parley.gateway.connections.connection import Connection
from parley.gateway.namespaces import Namespace
from parley.gateway.recovery.packet_history import PacketHistory

RECOVERIES = Counter("parley_gateway_recoveries_total", "Returning clients by outcome", ["outcome"])

MAX_SAVED = 20_000
TIMEOUT = 1.0
"""Seconds to wait for another gateway; a client that is not recovered loses nothing but time."""
SWEEP_INTERVAL = 1.0
MAX_TEXT = 256
MAX_MOVES = 4
"""Gateways asked for one connection, each of which says where it went."""


def make_offsets(instance: str, namespaces: Mapping[str, Namespace]) -> dict[str, PacketHistory]:
    """Offsets for each namespace that recovers connections, told apart from those of earlier runs."""
    run = f"{instance}.{secrets.token_urlsafe(4)}"
    return {name: PacketHistory(run) for name, namespace in namespaces.items() if namespace.recovery}


class Parking(Protocol):
    """What the fanout does for a lost connection."""

    def park(self, connection: Connection) -> dict[str, int] | None:
        """Keep hearing its rooms that have no log, and leave the others. Returns the heads of those, by room.

        None when it cannot be told how far it has got in one of them; then it has left all.
        """
        ...

    def leave_all(self, connection: Connection) -> None:
        """Leave what is left."""
        ...


class _Saved(NamedTuple):
    connection: Connection
    heads: dict[str, int]
    rooms: set[str]
    expires: float


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
        self._saved: OrderedDict[str, _Saved] = OrderedDict()
        self._moved: OrderedDict[str, str] = OrderedDict()

    async def start(self) -> None:
        """Begin to answer other gateways."""
        if self._seconds:
            await self._bus.respond(
                subjects.recover(self._bus.instance), Recover, self._on_recover, queue=self._bus.instance
            )

    @property
    def waits(self) -> bool:
        """Whether anybody may still come back."""
        return bool(self._saved)

    @property
    def parked(self) -> list[Connection]:
        """Those that have gone and may still come back."""
        return [saved.connection for saved in self._saved.values()]

    def begin(self, connection: Connection, pid: str) -> None:
        """Give a connection its private id, the one it had if it was recovered."""
        if connection.namespace in self._seconds:
            connection.pid = pid or f"{self._bus.instance}.{secrets.token_urlsafe(15)}"
            connection.began = self._offsets[connection.namespace].number
            self._live[connection.pid] = connection

    def lost(self, connection: Connection, reason: str) -> bool:
        """A connection has gone. Whether it was parked, with what it needs to come back."""
        if self._live.pop(connection.pid, None) is None:
            return False
        if connection.ended or not connection.opened or reason not in RECOVERABLE or len(self._saved) >= MAX_SAVED:
            return False
        rooms = {*connection.rooms, connection.sid}
        heads = self._parking.park(connection)
        if heads is None:
            return False
        expires = time.monotonic() + self._seconds[connection.namespace]
        self._saved[connection.pid] = _Saved(connection, heads, rooms, expires)
        return True

    async def claim(self, namespace: str, user_id: str, auth: Mapping[str, Any]) -> Recovered | None:
        """The state of the connection that a client says it had."""
        pid, offset = auth.get("pid"), auth.get("offset", "")
        if namespace not in self._seconds or not isinstance(pid, str) or not isinstance(offset, str):
            return None
        if max(len(pid), len(offset)) > MAX_TEXT:
            return None
        question = Recover(self._bus.instance, namespace, user_id, pid, offset)
        # Whoever sent the last event has it; who gave it its pid knows where it went.
        holder = offset.rpartition("-")[0].rpartition(".")[0] or pid.rpartition(".")[0]
        answer = Recovered()
        for _ in range(MAX_MOVES):
            answer = await self._ask(holder, question)
            if answer.sid or not answer.moved_to:
                break
            holder = answer.moved_to
        RECOVERIES.labels("recovered" if answer.sid else "unknown").inc()
        return answer if answer.sid else None

    async def _ask(self, gateway: str, question: Recover) -> Recovered:
        if gateway == self._bus.instance:
            return await self._on_recover(question)
        try:
            return await self._bus.request(subjects.recover(gateway), question, Recovered, timeout=TIMEOUT)
        except Reject:
            return Recovered()

    async def _on_recover(self, question: Recover) -> Recovered:
        pid = question.pid
        live = self._live.get(pid)
        if live is not None and live.identity.user_id == question.user_id:
            # Its old transport is dead; only this end has not noticed yet.
            live.session.end(DisconnectReason.TRANSPORT_CLOSE)
        saved = self._saved.get(pid)
        if saved is None:
            return Recovered(moved_to=self._moved.get(pid, ""))
        connection = saved.connection
        if (connection.identity.user_id, connection.namespace) != (question.user_id, question.namespace):
            return Recovered()
        self._drop(pid)
        offsets = self._offsets[connection.namespace]
        # What it lacked when it began was sent anew after that.
        number = max(offsets.parse(question.offset, connection.began), connection.began)
        lacks = offsets.since(number, connection.sid, saved.heads, saved.rooms)
        if lacks is None or saved.expires < time.monotonic():
            return Recovered()
        if question.gateway != self._bus.instance:
            self._moved[pid] = question.gateway
            if len(self._moved) > MAX_SAVED:
                self._moved.popitem(last=False)
        cursors, missed = lacks
        return Recovered(connection.sid, "", cursors, list(connection.joined_ad_hoc or ()), missed, connection.kept)

    def forget(self, user_id: str) -> None:
        """None of a user's lost connections may come back."""
        for pid in [pid for pid, saved in self._saved.items() if saved.connection.identity.user_id == user_id]:
            self._drop(pid)

    def _drop(self, pid: str) -> None:
        # Whoever comes back to this gateway enters the same rooms in this tick, and misses nothing between the two.
        asyncio.get_running_loop().call_soon(self._parking.leave_all, self._saved.pop(pid).connection)

    async def run_sweep(self) -> None:
        """Forget, for ever, who did not come back in time."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            now = time.monotonic()
            for pid in [pid for pid, saved in self._saved.items() if saved.expires < now]:
                self._drop(pid)
