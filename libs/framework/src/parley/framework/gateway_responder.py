"""Connections as a service sees them come and go: which rooms they are in, and middleware around their lives."""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.errors import Code, Reject
from parley.common.identifiers import uuid7
from parley.common.logs import CORRELATION
from parley.common.tasks import Tasks
from parley.common.wire.codec import decode
from parley.common.wire.connections import ConnectionClosed, ConnectReply, ConnectRequest
from parley.common.wire.rooms import GetRoomHeads, Replay, Replayed, RoomHeads
from parley.framework.connection_context import ConnectionContext
from parley.framework.emitter import Emitter
from parley.framework.middleware import ConnectionOnion
from parley.framework.rooms import NoRoomLog, RoomLog
from parley.framework.router import LIFECYCLE, Router
from parley.framework.session import Session

MAX_CONTEXTS = 100_000
"""Connections whose middleware one process keeps waiting for their end; beyond it new ones are told `overloaded`."""
ADMIT_SECONDS = 4.0
"""Seconds that middleware may take to admit a connection; the gateway waits a little longer, and asks again."""
SWEEP_INTERVAL = 1.0
GATEWAY_GONE = "gateway gone"
"""Why a connection ended whose gateway shows no sign of life."""


class GatewayResponder:
    """Answers what gateways ask about the connections and the rooms of one namespace."""

    def __init__(self, bus: Bus, router: Router[Any], emitter: Emitter, state: Any) -> None:
        self._bus = bus
        self._router = router
        self._emitter = emitter
        self._state = state
        self._log: RoomLog = router.log(state) if router.log is not None else NoRoomLog()
        self._notices = tuple(sorted(LIFECYCLE - {"error"} & router.routes.keys()))
        if router.connection_middleware:
            self._notices = (*self._notices, "closed")
        self._tasks = Tasks()
        self._subscriptions: list[Subscription] = []
        self._onions: dict[str, tuple[ConnectionOnion, str]] = {}

    async def start(self) -> None:
        """Begin to answer."""
        namespace, queue = self._router.namespace, self._bus.service
        if self._router.connection_middleware:
            self._subscriptions.append(await self._bus.subscribe(subjects.closed(namespace), self._on_closed))
            self._tasks.forever(self._sweep(), name="connections of dead gateways")
        self._subscriptions += [
            await self._bus.respond(subjects.replay(namespace), Replay, self._replay, queue),
            await self._bus.respond(subjects.room_heads(namespace), GetRoomHeads, self._heads, queue),
            # Last: who is admitted may ask for the rest at once.
            await self._bus.respond(subjects.opening(namespace), ConnectRequest, self._open, queue),
        ]

    async def close(self) -> None:
        """Leave what comes to other replicas, and give up on what still runs."""
        for subscription in self._subscriptions:
            await self._bus.unsubscribe(subscription)
        await self._tasks.close()

    async def _open(self, request: ConnectRequest) -> ConnectReply:
        if request.refresh or not self._router.connection_middleware:
            return ConnectReply(await self._log.memberships(request.identity), notices=self._notices)
        return await self._pass(request)

    async def _pass(self, request: ConnectRequest) -> ConnectReply:
        if len(self._onions) >= MAX_CONTEXTS:
            raise Reject(Code.OVERLOADED)
        session, correlation = Session(request.session), f"conn-{uuid7().hex}"
        CORRELATION.set(correlation)
        context = ConnectionContext(
            self._emitter, request.identity, request.sid, request.gateway, correlation, request.handshake, session
        )
        context.state = self._state
        opened = ConnectReply()

        async def core(_context: ConnectionContext) -> None:
            nonlocal opened
            rooms = await self._log.memberships(request.identity)
            opened = ConnectReply(rooms, context.joins, context.greetings, session.changed(), self._notices)

        if (earlier := self._onions.get(request.sid)) is not None:
            earlier[0].cancel()  # the gateway has not heard its answer
        onion = ConnectionOnion(self._router.connection_middleware, context, core)
        self._onions[request.sid] = (onion, request.gateway)
        self._tasks.spawn(self._live(request.sid, onion), name="connection middleware")
        await onion.admitted(ADMIT_SECONDS)
        return opened

    async def _live(self, sid: str, onion: ConnectionOnion) -> None:
        try:
            await onion.run()
        finally:
            if self._onions.get(sid, (None,))[0] is onion:
                del self._onions[sid]

    async def _on_closed(self, message: Msg) -> None:
        notice = decode(message.data, ConnectionClosed)
        self._leave(notice)

    def _leave(self, closed: ConnectionClosed) -> None:
        if (found := self._onions.pop(closed.opening, None)) is not None:
            found[0].leave(closed)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            registry = self._emitter.registry
            if not registry.warmed_up or not self._bus.connected:
                continue
            alive = registry.alive()
            for sid in [sid for sid, (_, gateway) in self._onions.items() if gateway not in alive]:
                self._leave(ConnectionClosed(sid, sid, GATEWAY_GONE))

    async def _replay(self, request: Replay) -> Replayed:
        return await self._log.replay(request.room, request.after, request.limit)

    async def _heads(self, request: GetRoomHeads) -> RoomHeads:
        return RoomHeads(self._router.namespace, await self._log.heads(request.rooms))
