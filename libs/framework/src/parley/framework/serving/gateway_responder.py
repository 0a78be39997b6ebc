"""Answers the gateways' requests about one namespace: connect, memberships, heads, replay; runs connection middleware.

`Service` makes one for each of its routers. Requests of gateways arrive on the service's loop, and each is answered in
a task of its own.

A namespace with connection middleware or a `disconnect` controller has something to do when a connection is gone. Only
then the responder holds the connections that it admitted, tells gateways to report their end (`closed`), and has
`HeldConnections` compare them with what their gateways have, since a gateway that was killed reports nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.nats.chunks import split_by_size
from parley.common.process.logs import CORRELATION, get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.commands import Command, CommandBatch, ConnectionCommands
from parley.common.wire.connections import ConnectionClosed, ConnectReply, ConnectRequest
from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.identifiers import uuid7
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import GetMemberships, GetRoomHeads, Membership, Memberships, Replay, Replayed, RoomHeads
from parley.framework.remote.emitter import Emitter
from parley.framework.routing.connection_context import ConnectionContext
from parley.framework.routing.connection_data import ConnectionData
from parley.framework.routing.room_log import NoRoomLog, RoomLog
from parley.framework.routing.router import LIFECYCLE, Router
from parley.framework.serving.connection_lifetime import ConnectionLifetime
from parley.framework.serving.held_connections import GATEWAY_TIMEOUTS, HeldConnections

log = get_logger(__name__)

MAX_HELD = 100_000
"""Connections that one process holds at most; with connection middleware, more are refused with `overloaded`."""
ADMIT_SECONDS = 4.0
"""Seconds that middleware may take to admit a connection: a little less than a gateway waits before it asks again."""
DISCONNECT_EVENTS = ("disconnecting", "disconnect")
"""The events of a connection's end, in the order in which they are sent."""
USERS_AT_ONCE = 100
"""Users whose rooms the log is asked for at once."""
MAX_BYTES = 384 * 1024
"""A reply is cut here, to stay well below NATS' default `max_payload` of 1 MiB."""
MEMBERSHIP_BYTES = 24
"""Bytes counted for a membership besides its room's name."""


class _Held(NamedTuple):
    """A connection that this process admitted and whose end it has something to do at."""

    request: ConnectRequest
    data: bytes
    lifetime: ConnectionLifetime | None


class GatewayResponder:
    """Answers the requests of gateways about the connections and the rooms of one namespace."""

    def __init__(self, bus: Bus, router: Router[Any], emitter: Emitter, state: Any) -> None:
        self._bus = bus
        self._router = router
        self._emitter = emitter
        self._state = state
        self._log: RoomLog = router.room_log(state) if router.room_log is not None else NoRoomLog()
        self._lifecycle_events = tuple(sorted(LIFECYCLE - {"error"} & router.routes.keys()))
        self._disconnect_events = [event for event in DISCONNECT_EVENTS if event in router.routes]
        self._follows_connections = bool(router.connection_middleware or self._disconnect_events)
        """Whether this process has something to do when a connection is gone."""
        if self._follows_connections:
            self._lifecycle_events = (*self._lifecycle_events, "closed")
        self._tasks = Tasks()
        self._subscriptions: list[Subscription] = []
        self._held: dict[str, _Held] = {}
        self._comparison = HeldConnections(bus, router.namespace, emitter.registry, self._on_gone, GATEWAY_TIMEOUTS)

    async def start(self) -> None:
        """Begin to answer."""
        namespace, queue = self._router.namespace, self._bus.service
        if self._follows_connections:
            # Without a queue group: the replica that holds a connection has to hear of its end.
            self._subscriptions.append(await self._bus.subscribe(subjects.closed(namespace), self._on_closed))
            self._comparison.start()
        self._subscriptions += [
            await self._bus.respond(subjects.replay(namespace), Replay, self._replay, queue),
            await self._bus.respond(subjects.room_heads(namespace), GetRoomHeads, self._heads, queue),
            await self._bus.respond(subjects.memberships(namespace), GetMemberships, self._memberships, queue),
            # Last: the gateway of an admitted connection asks for the rest at once.
            await self._bus.respond(subjects.connect(namespace), ConnectRequest, self._admit, queue),
        ]

    async def close(self) -> None:
        """Stop answering, so that requests go to other replicas, and cancel the middleware that still runs."""
        for subscription in self._subscriptions:
            await self._bus.unsubscribe(subscription)
        await self._comparison.close()
        await self._tasks.close()

    # -- connections that come and go ------------------------------------------------------------------------------

    async def _admit(self, request: ConnectRequest) -> ConnectReply:
        """Admit a connection, or raise `Reject`."""
        full = len(self._held) >= MAX_HELD
        if self._router.connection_middleware:
            if full:
                raise Reject(Code.OVERLOADED)
            return await self._pass(request)
        reply = ConnectReply(
            await self._log.memberships(request.identity),
            lifecycle_events=self._lifecycle_events,
            incarnation=self._log.incarnation,
        )
        # Without middleware, a connection too many is admitted all the same. It is not compared, so if its gateway is
        # killed, there are no `disconnect` events.
        if self._follows_connections and not full:
            self._hold(_Held(request, request.data, None))
        return reply

    async def _pass(self, request: ConnectRequest) -> ConnectReply:
        """Admit a connection through the connection middleware, or raise `Reject`."""
        data, correlation = ConnectionData(request.data), f"conn-{uuid7().hex}"
        CORRELATION.set(correlation)
        context = ConnectionContext(self._emitter, request, correlation, data, self._state)
        opened = ConnectReply()

        async def core(_context: ConnectionContext) -> None:
            nonlocal opened
            rooms = await self._log.memberships(request.identity)
            opened = ConnectReply(
                rooms, context.initial_rooms, context.initial_events, data.changed(), self._lifecycle_events,
                self._log.incarnation,
            )  # fmt: skip

        if (earlier := self._held.get(request.sid)) is not None and earlier.lifetime is not None:
            # The gateway asks again because it got no reply; only the later run may hold the connection.
            earlier.lifetime.cancel()
        lifetime = ConnectionLifetime(self._router.connection_middleware, context, core)
        self._hold(_Held(request, request.data, lifetime))
        self._tasks.spawn(self._live(request.sid, lifetime), name="connection middleware")
        await lifetime.admitted(ADMIT_SECONDS)
        # For the `disconnect` events that this process sends if the gateway dies. The connection may be gone by now.
        if opened.data is not None and request.sid in self._held:
            self._held[request.sid] = _Held(request, opened.data, lifetime)
        return opened

    async def _live(self, sid: str, lifetime: ConnectionLifetime) -> None:
        """Run a connection's middleware to its end, then hold the connection no longer."""
        try:
            await lifetime.run()
        finally:
            # Only its own: the gateway may have asked again meanwhile, and the later run has the place.
            if (held := self._held.get(sid)) is not None and held.lifetime is lifetime:
                del self._held[sid]
                self._comparison.discard(sid)

    def _hold(self, held: _Held) -> None:
        self._held[held.request.sid] = held
        self._comparison.add(held.request.sid, held.request.gateway)

    async def _on_closed(self, message: Msg) -> None:
        self._leave(decode(message.data, ConnectionClosed))

    def _leave(self, closed: ConnectionClosed) -> _Held | None:
        self._comparison.discard(closed.connect_sid)
        # By the sid with which it was admitted: a recovered connection goes on under an earlier one.
        held = self._held.pop(closed.connect_sid, None)
        if held is not None and held.lifetime is not None:
            held.lifetime.leave(closed)
        return held

    def _on_gone(self, sid: str, reason: DisconnectReason) -> None:
        """End a connection that a comparison shows to be gone though no gateway reported it."""
        held = self._leave(ConnectionClosed(sid, sid, reason))
        if held is not None and reason is DisconnectReason.GATEWAY_GONE and self._disconnect_events:
            self._tasks.spawn(self._send_disconnect_events(held, reason), name="disconnect events")

    async def _send_disconnect_events(self, held: _Held, reason: DisconnectReason) -> None:
        """Send the service the events of a connection's end, as its gateway would have done if it had lived."""
        request, args = held.request, msgspec.json.encode((reason, []))
        # All with tag 0: the acks go to a gateway that is gone.
        commands = [Command(0, event, args, f"gone-{request.sid}") for event in self._disconnect_events]
        conversation = ConnectionCommands(request.sid, request.identity, commands, request.handshake, held.data)
        batch = CommandBatch(request.gateway, self._router.namespace, [conversation])
        try:
            await self._bus.publish(subjects.commands(self._router.namespace), batch.encode())
        except Reject as rejection:
            log.warning("disconnect events not sent", sid=request.sid, code=str(rejection.code))

    # -- rooms -----------------------------------------------------------------------------------------------------

    async def _replay(self, request: Replay) -> Replayed:
        return await self._log.replay(request.room, request.after, request.limit)

    async def _heads(self, request: GetRoomHeads) -> RoomHeads:
        return RoomHeads(self._router.namespace, await self._log.heads(request.rooms))

    async def _memberships(self, request: GetMemberships) -> Memberships:
        """Return the rooms of as many users as fit a message; the gateway asks again for the rest.

        None stands for a user who could not be looked up. A failure that may pass ends the reply, or raises `Reject` if
        it concerns the first user.
        """
        answered: list[list[Membership] | None] = []
        size = 0
        for users in split_by_size(request.users, USERS_AT_ONCE, lambda _user: 1):
            found = await asyncio.gather(*(self._log.memberships(user) for user in users), return_exceptions=True)
            for user, rooms in zip(users, found, strict=True):
                # An outage of the log: the gateway asks again for this user and the rest.
                if isinstance(rooms, Reject) and rooms.retryable:
                    if not answered:
                        raise rooms
                    return Memberships(answered)
                if isinstance(rooms, BaseException):
                    _report(user, rooms)
                    answered.append(None)
                    continue
                size += sum(len(membership.room) + MEMBERSHIP_BYTES for membership in rooms)
                if answered and size > MAX_BYTES:
                    return Memberships(answered)
                answered.append(rooms)
        return Memberships(answered)


def _report(user: Identity, error: BaseException) -> None:
    if isinstance(error, Reject):
        log.info("memberships refused", user=user.user_id, code=str(error.code))
    else:
        log.error("memberships failed", user=user.user_id, exc_info=error)
