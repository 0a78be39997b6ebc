"""The gateway's parts, put together on one bus.

`app` makes one `Gateway` per process, starts it, and closes it at the end. `socketio.server` reports to it what clients
do; it hands that to `lifecycle`, to the commands' middleware or to `operations`. Everything runs on one event loop, so
none of the parts needs a lock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.rate_limiter import RateLimiter
from parley.common.wire.address_bans import BANNED
from parley.common.wire.commands import RESERVED_EVENTS, error_of
from parley.common.wire.disconnects import DisconnectReason, reason_of
from parley.engineio.metrics import LIMIT_HITS
from parley.framework.remote.emitter import Emitter
from parley.framework.routing.router import LIFECYCLE
from parley.framework.serving.event_result import EventResult
from parley.gateway.admission.admission import Admission
from parley.gateway.admission.banned_addresses import BannedAddresses
from parley.gateway.admission.comparison import Comparison
from parley.gateway.admission.connection_middleware import MiddlewareRunner
from parley.gateway.admission.memberships import MembershipCheck
from parley.gateway.admission.standing_check import StandingCheck
from parley.gateway.commands.command_budget import CommandBudget
from parley.gateway.commands.event_middleware import EventMiddleware
from parley.gateway.commands.forwarder import CommandForwarder
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.lifecycle import Lifecycle
from parley.gateway.namespaces import Namespace
from parley.gateway.operations.client_acks import ClientAcks
from parley.gateway.operations.operations import Operations
from parley.gateway.presence.room_presence import RoomPresence
from parley.gateway.process.gc_scheduling import run_collector
from parley.gateway.process.loop_monitor import LoopMonitor
from parley.gateway.recovery.recovery import Recovery, make_histories
from parley.gateway.rooms.fanout import Fanout
from parley.gateway.settings import GatewaySettings
from parley.gateway.socketio.client import Client
from parley.gateway.socketio.packets import AckPacket, EventPacket, event_packet
from parley.gateway.socketio.server import ServerEvents, SocketIoServer

SWEEP_INTERVAL = 10.0
"""Seconds between two sweeps of the rates of users, connections and addresses."""
BURST_SECONDS = 10
"""How many seconds' worth of a namespace's own rate may come at once."""
LINGER = 2.0
"""Seconds that a draining gateway waits for what follows from the end of the last clients."""


_NOT_FOR_CLIENTS = RESERVED_EVENTS | LIFECYCLE


class Gateway(ServerEvents):
    """Takes what the server reports and hands it to the part that deals with it."""

    def __init__(self, bus: Bus, namespaces: Mapping[str, Namespace], settings: GatewaySettings) -> None:
        self.connections = connections = ConnectionRegistry()
        self.server = server = SocketIoServer(settings, bus.instance, namespaces, self)
        self._bus = bus
        histories = make_histories(bus.run_address, namespaces)
        self._fanout = fanout = Fanout(bus, server, histories, namespaces)
        self._recovery = recovery = Recovery(bus, namespaces, histories, fanout)
        budget = CommandBudget(server.engine.budget)
        self._commands = CommandForwarder(bus, namespaces, connections, self.reply, budget, settings)
        self._emitter = emitter = Emitter(bus, "/")
        self._event_middleware = EventMiddleware(bus, emitter, namespaces, self._commands, self.reply, budget, settings)
        self._connection_middleware = MiddlewareRunner(bus, emitter, namespaces)
        self._admission = Admission(
            bus, namespaces, connections, fanout, recovery, self._connection_middleware, settings.gateway_max_per_user
        )
        self._acks = ClientAcks(bus)
        self._standing = StandingCheck(bus, connections, lambda: recovery.parked, self._end_user, self._end_unwelcome)
        self._presence = presence = RoomPresence(
            bus, connections, fanout, server, emitter.registry, settings.gateway_presence_lease
        )
        self.lifecycle = Lifecycle(
            server, namespaces, connections, self._admission, fanout, recovery,
            self._connection_middleware, self._event_middleware, self._commands, self._acks, self._standing,
            presence,
        )  # fmt: skip
        self._address_bans = BannedAddresses(bus, lambda: [*connections, *recovery.parked], self._end_banned)
        server.engine.refuses_address = self._address_bans.refuse
        self._operations = Operations(
            bus, namespaces, server, connections, fanout, self._acks, histories,
            self.lifecycle.disconnect, self.lifecycle.end_user,
            self.lifecycle.end_addresses, self._standing.recheck, self._address_bans.renew, presence,
        )  # fmt: skip
        self._rates = RateLimiter(settings.gateway_user_events_per_second, settings.gateway_user_events_burst)
        self._namespace_rates = {
            name: RateLimiter(rate, max(1, round(rate * BURST_SECONDS)))
            for name, namespace in namespaces.items()
            if (rate := namespace.events_per_second) is not None
        }
        self._tasks = Tasks()
        self._memberships = MembershipCheck(bus, connections, fanout)
        fanout.on_restored = recovery.forget_all
        self._comparison = Comparison(bus, connections, self.lifecycle.end_presumed_gone)
        self._loop_monitor = LoopMonitor()

    async def start(self) -> None:
        """Subscribe to everything that a gateway listens to, and start what runs for ever."""
        await self._commands.start()
        await self._fanout.start()
        self._operations.start()
        await self._recovery.start()
        await self._comparison.start()
        self._standing.start()
        self._address_bans.start()
        self._memberships.start()
        # Before clients come: presence waits for the gateways that are known to live.
        await self._emitter.start()
        self._presence.start()
        self._bus.on_reconnect(self._reconcile)
        self._loop_monitor.on_stall(self._reconcile)
        # The fanout does this after a reconnect by itself, but not after a stall.
        self._loop_monitor.on_stall(self._fanout.verify_all)
        self._loop_monitor.on_stall(self._presence.start_over)
        self._fanout.on_missed = self._memberships.verify_all
        self._fanout.hints.on_uncertain_join = self._memberships.verify
        self._tasks.forever(self._loop_monitor.run(), name="loop monitor")
        self._tasks.forever(self._recovery.run_sweep(), name="lost connections")
        self._tasks.forever(run_collector(), name="garbage")
        self._tasks.forever(self._sweep(), name="rates")

    def _reconcile(self) -> None:
        """Compare everything that is published only once and may have been missed. Bans come first."""
        self._standing.verify_all()
        self._memberships.verify_all()
        self._address_bans.renew_soon()

    def _end_banned(self, connection: Connection) -> None:
        self.lifecycle.end(connection, DisconnectReason.BANNED, BANNED)

    def _end_user(self, user_id: str, code: Code, message: str) -> int:
        return self.lifecycle.end_user(user_id, code, message)

    def _end_unwelcome(self, connection: Connection, code: Code, message: str) -> None:
        self.lifecycle.end(connection, reason_of(code, DisconnectReason.KICKED), message)

    def check(self) -> str | None:
        """Return what keeps the gateway from being ready, or None."""
        return "stopping" if self.server.engine.draining else self._standing.check()

    async def drain(self) -> None:
        """Accept no new connections, and end those there are over the configured time.

        Then wait until nobody is about to be recovered by another gateway, and services have heard of the last ones'
        end.
        """
        await self.server.drain()
        deadline = time.monotonic() + LINGER
        # Both change within other parts many times a second, and are looked at for two seconds once in a process's
        # life.
        while (self._recovery.waits or not self._commands.idle) and time.monotonic() < deadline:  # noqa: ASYNC110 - for seconds, once
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """End all connections and stop."""
        # What still speaks for connections is closed last: their end is told through it.
        await self.server.engine.shutdown()
        await self._tasks.close()
        await self._standing.close()
        await self._address_bans.close()
        await self._memberships.close()
        await self.lifecycle.close()
        await self._event_middleware.close()
        await self._connection_middleware.close()
        await self._commands.close()
        await self._operations.close()
        await self._presence.close()
        await self._acks.close()
        await self._recovery.close()
        await self._fanout.close()

    @override
    def connect(self, client: Client, namespace: str, auth: Mapping[str, Any]) -> None:
        self.lifecycle.connect(client, namespace, auth)

    @override
    def left(self, client: Client, namespace: str, reason: DisconnectReason) -> None:
        self.lifecycle.left(client, namespace, reason)

    @override
    def lost(self, client: Client, reason: DisconnectReason) -> None:
        self.lifecycle.lost(client, reason)

    @override
    def event_received(self, connection: Connection, packet: EventPacket) -> None:
        now, rates = time.monotonic(), self._namespace_rates.get(connection.namespace)
        # The cheapest check comes first, and none of them decodes the arguments.
        if packet.event in _NOT_FOR_CLIENTS:
            self._refuse(connection, packet, Reject(Code.UNKNOWN_EVENT, f"The name {packet.event!r} is reserved."))
        elif not self._rates.take(connection.identity.user_id, now):
            LIMIT_HITS.labels("user_events_per_second").inc()
            self._refuse(connection, packet, Reject(Code.RATE_LIMITED))
        elif rates is not None and not rates.take(connection.sid, now):
            LIMIT_HITS.labels("namespace_events_per_second").inc()
            self._refuse(connection, packet, Reject(Code.RATE_LIMITED))
        else:
            self._event_middleware.submit(connection, packet)

    def _refuse(self, connection: Connection, packet: EventPacket, rejection: Reject) -> None:
        self.reply(connection, packet.ack_id, EventResult.refused(rejection))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            for rates in (self.lifecycle.refusals, self._rates, *self._namespace_rates.values()):
                rates.sweep(time.monotonic())

    @override
    def ack_received(self, connection: Connection, packet: AckPacket) -> None:
        self._acks.answered(connection, packet)

    def reply(self, connection: Connection, ack_id: int | None, outcome: EventResult) -> None:
        """Send the outcome of an emit."""
        if ack_id is not None:
            self.server.ack(connection, ack_id, outcome.payload, outcome.attachments)
        elif not outcome.ok:
            # Without an ack id there is nothing to answer, so Socket.IO's own servers have no way to tell; ours emits
            # `error`.
            args = b"[" + error_of(outcome.payload) + b"]"
            self.server.send(connection, event_packet(connection.namespace, "error", args))
