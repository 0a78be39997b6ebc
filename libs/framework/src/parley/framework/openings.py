"""Connections as a service sees them come and go: which rooms they are in, and middleware around their lives."""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.envelope import Closed, Heads, HeadsOf, Open, Opened, Replay, Replayed, decode
from parley.common.errors import Code, Reject
from parley.common.identifiers import uuid7
from parley.common.logs import CORRELATION
from parley.common.tasks import Tasks
from parley.framework.emitter import Emitter
from parley.framework.middleware import ConnectionOnion
from parley.framework.passage import Passage
from parley.framework.rooms import RoomLog, Unlogged
from parley.framework.router import LIFECYCLE, Router
from parley.framework.session import Session

MAX_PASSAGES = 100_000
"""Connections whose middleware one process keeps waiting for their end; beyond it new ones are told `overloaded`."""
ADMIT_SECONDS = 4.0
"""Seconds that middleware may take to admit a connection; the gateway waits a little longer, and asks again."""
SWEEP_INTERVAL = 1.0
GATEWAY_GONE = "gateway gone"
"""Why a connection ended whose gateway shows no sign of life."""


class Openings:
    """Answers what gateways ask about the connections and the rooms of one namespace."""

    def __init__(self, bus: Bus, router: Router[Any], emitter: Emitter, state: Any) -> None:
        self._bus = bus
        self._router = router
        self._emitter = emitter
        self._state = state
        self._log: RoomLog = router.log(state) if router.log is not None else Unlogged()
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
            await self._bus.respond(subjects.room_heads(namespace), HeadsOf, self._heads, queue),
            # Last: who is admitted may ask for the rest at once.
            await self._bus.respond(subjects.opening(namespace), Open, self._open, queue),
        ]

    async def close(self) -> None:
        """Leave what comes to other replicas, and give up on what still runs."""
        for subscription in self._subscriptions:
            await self._bus.unsubscribe(subscription)
        await self._tasks.close()

    async def _open(self, request: Open) -> Opened:
        if request.refresh or not self._router.connection_middleware:
            return Opened(await self._log.memberships(request.identity), notices=self._notices)
        return await self._pass(request)

    async def _pass(self, request: Open) -> Opened:
        if len(self._onions) >= MAX_PASSAGES:
            raise Reject(Code.OVERLOADED)
        session, correlation = Session(request.session), f"conn-{uuid7().hex}"
        CORRELATION.set(correlation)
        passage = Passage(
            self._emitter, request.identity, request.sid, request.gateway, correlation, request.handshake, session
        )
        passage.state = self._state
        opened = Opened()

        async def core(_passage: Passage) -> None:
            nonlocal opened
            rooms = await self._log.memberships(request.identity)
            opened = Opened(rooms, passage.joins, passage.greetings, session.changed(), self._notices)

        if (earlier := self._onions.get(request.sid)) is not None:
            earlier[0].cancel()  # the gateway has not heard its answer
        onion = ConnectionOnion(self._router.connection_middleware, passage, core)
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
        notice = decode(message.data, Closed)
        self._leave(notice)

    def _leave(self, closed: Closed) -> None:
        if (found := self._onions.pop(closed.opening, None)) is not None:
            found[0].leave(closed)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            directory = self._emitter.directory
            if not directory.settled or not self._bus.connected:
                continue
            alive = directory.alive()
            for sid in [sid for sid, (_, gateway) in self._onions.items() if gateway not in alive]:
                self._leave(Closed(sid, sid, GATEWAY_GONE))

    async def _replay(self, request: Replay) -> Replayed:
        return await self._log.replay(request.room, request.after, request.limit)

    async def _heads(self, request: HeadsOf) -> Heads:
        return Heads(self._router.namespace, await self._log.heads(request.rooms))
