"""The gateway's parts, put together on one bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from parley.common.bus import Bus
from parley.common.disconnects import DisconnectReason
from parley.common.errors import Code, Reject
from parley.common.tasks import Tasks
from parley.common.wire.commands import RESERVED_EVENTS
from parley.framework.emitter import Emitter
from parley.framework.outcome import Outcome
from parley.framework.router import LIFECYCLE
from parley.gateway.admission.admission import Admission
from parley.gateway.admission.comparison import Comparison
from parley.gateway.admission.memberships import MembershipCheck
from parley.gateway.admission.middleware import MiddlewareRunner
from parley.gateway.admission.standing import StandingCheck
from parley.gateway.commands.forwarder import CommandForwarder
from parley.gateway.commands.middleware import EventMiddleware
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.rate_limiter import RateLimiter
from parley.gateway.connections.registry import ConnectionRegistry
from parley.gateway.engineio.session import Session
from parley.gateway.metrics import LIMIT_HITS
from parley.gateway.namespaces import Namespace
from parley.gateway.operations.client_acks import ClientAcks
from parley.gateway.operations.operations import Operations
from parley.gateway.process.gc_scheduling import run_collector
from parley.gateway.process.loop_monitor import LoopMonitor
from parley.gateway.recovery.recovery import Recovery, make_offsets
from parley.gateway.rooms.fanout import Fanout
from parley.gateway.settings import Settings
from parley.gateway.socketio.packets import AckPacket, EventPacket, event_packet
from parley.gateway.socketio.server import SWEEP_INTERVAL, SocketIoServer

BURST_SECONDS = 10
"""How many seconds' worth of a namespace's own rate may come at once."""
LINGER = 2.0
"""Seconds that a draining gateway waits for what follows from the end of the clients it closed last."""


class _Failure(msgspec.Struct):
    error: msgspec.Raw


class Gateway:
    """Takes what the edge reports and hands it to the part that deals with it."""

    def __init__(self, bus: Bus, namespaces: Mapping[str, Namespace], settings: Settings) -> None:
        self.connections = ConnectionRegistry()
        self.edge = SocketIoServer(settings, bus.instance, namespaces, self)
        self._bus = bus
        offsets = make_offsets(bus.instance, namespaces)
        self._fanout = Fanout(bus, self.edge, offsets)
        self._recovery = Recovery(bus, namespaces, offsets, self._fanout)
        self._commands = CommandForwarder(bus, namespaces, self, settings)
        emitter = Emitter(bus, "/")
        self._around_packets = EventMiddleware(bus, emitter, namespaces, self._commands, self, settings)
        self._around_connections = MiddlewareRunner(bus, emitter, namespaces)
        self._admission = Admission(
            bus, namespaces, self.connections, self._fanout, self._recovery, self._around_connections,
            settings.gateway_max_per_user,
        )  # fmt: skip
        self._acks = ClientAcks(bus)
        self._operations = Operations(
            bus, self.edge, self.connections, self._fanout, self._acks, offsets, self.end_user
        )
        self._rates = RateLimiter(settings.gateway_user_events_per_second, settings.gateway_user_events_burst)
        self._namespace_rates = {
            name: RateLimiter(rate, max(1, round(rate * BURST_SECONDS)))
            for name, namespace in namespaces.items()
            if (rate := namespace.events_per_second) is not None
        }
        self._tasks = Tasks()
        self._standing = StandingCheck(
            bus, self.connections, lambda: self._recovery.parked, self._control.end_user, self._control.end
        )
        self._memberships = MembershipCheck(bus, self.connections, self._fanout)
        self._comparison = Comparison(
            bus, bus.instance, self.connections, lambda gone: gone.session.close(DisconnectReason.GATEWAY_GONE)
        )
        self._loop_monitor = LoopMonitor()

    async def start(self) -> None:
        """Subscribe to what a gateway listens to."""
        await self._commands.start()
        await self._fanout.start()
        self._operations.start()
        await self._recovery.start()
        await self._comparison.start()
        self._standing.start()
        self._memberships.start()
        self._bus.on_reconnect(self._reconcile)
        self._loop_monitor.on_stall(self._reconcile)
        self._tasks.forever(self._loop_monitor.run(), name="loop monitor")
        self._tasks.forever(self._recovery.run_sweep(), name="lost connections")
        self._tasks.forever(run_collector(), name="garbage")
        self._tasks.forever(self.edge.run_sweep(), name="rates of connections")
        self._tasks.forever(self._sweep(), name="rates of users")

    def _reconcile(self) -> None:
        """What is said once may have been missed: compare, what matters most first."""
        self._standing.verify_all()
        self._memberships.verify_all()
        self._fanout.verify_all()

    def check(self) -> str | None:
        """What keeps the gateway from being ready, or None."""
        return self._standing.check()

    async def drain(self) -> None:
        """Take no new connections and end the present ones over the configured time.

        Then let go of who is recovered, and have services hear of the last ones' end.
        """
        await self.edge.drain()
        deadline = time.monotonic() + LINGER
        while (self._recovery.waits or not self._commands.idle) and time.monotonic() < deadline:  # noqa: ASYNC110 - for seconds, once
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """End all connections and stop."""
        await self.edge.shutdown()
        await self._tasks.close()
        await self._standing.close()
        await self._memberships.close()
        await self._around_packets.close()
        await self._around_connections.close()
        await self._commands.close()
        await self._operations.close()
        await self._acks.close()
        await self._fanout.close()

    async def admit(self, sid: str, session: Session, namespace: str, auth: dict[str, Any]) -> Connection:
        """See `EdgeEvents`."""
        return await self._admission.admit(sid, session, namespace, auth)

    def opened(self, connection: Connection) -> None:
        """See `EdgeEvents`."""
        if connection.ended:
            return
        recovered = connection.recovered is not None
        self._admission.opened(connection)
        self._commands.notify(connection, "connect", recovered)

    def received(self, sid: str, packet: EventPacket) -> None:
        """See `EdgeEvents`."""
        connection = self.connections.get(sid)
        if connection is None or connection.ended:
            return
        now = time.monotonic()
        if packet.event in RESERVED_EVENTS or packet.event in LIFECYCLE:
            self._refuse(connection, packet, Reject(Code.UNKNOWN_EVENT, f"The name {packet.event!r} is reserved."))
        elif not self._rates.take(connection.identity.user_id, now):
            LIMIT_HITS.labels("user_events_per_second").inc()
            self._refuse(connection, packet, Reject(Code.RATE_LIMITED))
        elif (rates := self._namespace_rates.get(connection.namespace)) is not None and not rates.take(sid, now):
            LIMIT_HITS.labels("namespace_events_per_second").inc()
            self._refuse(connection, packet, Reject(Code.RATE_LIMITED))
        else:
            self._around_packets.submit(connection, packet)

    def _refuse(self, connection: Connection, packet: EventPacket, rejection: Reject) -> None:
        self.reply(connection, packet.ack_id, Outcome.refused(rejection))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            for rates in (self._rates, *self._namespace_rates.values()):
                rates.sweep(time.monotonic())

    def acked(self, sid: str, packet: AckPacket) -> None:
        """See `EdgeEvents`."""
        connection = self.connections.get(sid)
        if connection is not None:
            self._acks.answered(connection, packet)

    def closed(self, sid: str, reason: str) -> None:
        """See `EdgeEvents`."""
        connection = self.connections.get(sid)
        if connection is None:
            return
        rooms = sorted(connection.rooms) if connection.departed is None else connection.departed
        self._acks.lost(connection)
        parked = self._recovery.lost(connection, reason)
        self._admission.forget(connection, reason, parked=parked)

        def notify() -> None:
            for event in ("disconnecting", "disconnect"):
                self._commands.notify(connection, event, reason, rooms)

        self._around_packets.after(connection, notify)

    def end_user(self, user_id: str, code: Code, reason: str) -> int:
        """End every connection of a user, with what it is told; none that was lost comes back. Returns how many."""
        self._recovery.forget(user_id)
        connections = [connection for connection in self.connections.of_user(user_id) if not connection.ended]
        for connection in connections:
            connection.ended = str(code)
            connection.waiting.clear()
            # One that is still being admitted reads `ended` after its last check and is refused.
            if connection.opened:
                connection.departed = sorted(connection.rooms)
                self._fanout.leave_all(connection)
                self._fanout.send_event(connection, "kicked", {"code": str(code), "reason": reason})
                self.edge.disconnect_connection(connection, str(code))
        return len(connections)

    def reply(self, connection: Connection, ack_id: int | None, outcome: Outcome) -> None:
        """See `Replies`."""
        if ack_id is not None:
            self.edge.ack(connection, ack_id, outcome.payload, outcome.attachments)
        elif not outcome.ok:
            error = msgspec.json.decode(outcome.payload, type=_Failure).error
            self.edge.send(connection, event_packet(connection.namespace, "error", b"[" + error + b"]"))
