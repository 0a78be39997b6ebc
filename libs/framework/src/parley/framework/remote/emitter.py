"""The API of Socket.IO's servers: emit to connections on any gateway, ask them for acks, and operate on them.

A service has an emitter in every context. Any other process connects its own:

    async with Emitter.connected("nats://127.0.0.1:4222", "/shop") as emitter:
        await emitter.to("room1", "room2").except_(sid).volatile.emit("price", {"usd": 5})
        result = await emitter.to("couriers").emit_with_acks("offer", order, timeout=5)

Nothing of this is logged: what a gateway or a client misses is lost. Facts belong into the log.

All calls run on the event loop of the bus. Selecting (`to`, `except_`, `volatile`) sends nothing; the last call of a
chain becomes one `Operation`, which `GatewayRequests` sends to the gateways.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus, connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.binary import extract, insert
from parley.common.wire.commands import RESERVED_EVENTS
from parley.common.wire.connections import ConnectionInfo
from parley.common.wire.operations import (
    ClientAckReport,
    Disconnect,
    Emit,
    FetchConnections,
    FetchedConnections,
    JoinRooms,
    LeaveRooms,
    Operation,
    OperationReport,
    Selection,
)
from parley.common.wire.presence import PresenceChoice
from parley.framework.remote import presence_requests
from parley.framework.remote.gateway_registry import GatewayRegistry
from parley.framework.remote.gateway_requests import GatewayRequests
from parley.framework.remote.presence_requests import PresentUsers
from parley.framework.remote.reply_collector import GatewayReplies, ReplyT

ANSWER_TIMEOUT = 5.0
"""Seconds that gateways have to reply to an operation other than an emit with acks."""
MAX_ACK_TIMEOUT = 3600.0
"""Seconds that `emit_with_acks` may wait at most: gateways keep a count for each ack that is outstanding."""


@dataclass(frozen=True, slots=True)
class AcksResult:
    """The answers of clients to an event, and how many clients did not answer in time or are gone.

    An answer is the ack's argument, None for an ack without arguments, or a tuple of several.
    """

    answers: list[Any]
    missing: int
    unanswered: tuple[str, ...] = ()
    """The names of gateways, alive or silent, that did not even reply how many clients they asked."""


@dataclass(frozen=True, slots=True)
class _Target:
    """The connections that a chain has selected so far, and how an event is sent to them."""

    selection: Selection
    gateway: str = ""
    volatile: bool = False
    most: int | None = None
    """Stop waiting once this many connections were found (1 for a sid); None when the number is not known."""


class BroadcastOperator:
    """A selection of connections of a namespace, and what can be done with them. Immutable: each step makes another."""

    __slots__ = ("_requests", "_target")

    def __init__(self, requests: GatewayRequests, target: _Target) -> None:
        self._requests = requests
        self._target = target

    # -- to whom, and how ------------------------------------------------------------------------------------------

    def to(self, *rooms: str) -> BroadcastOperator:
        """Select the connections in any of these rooms as well; a sid and `user:<id>` are rooms, too.

        A connection that is in several of them receives an event once. A chain without `to` selects every connection.
        Raises `ValueError` when no room is named.
        """
        # An empty list, computed by the caller, would otherwise emit to everybody.
        if not rooms:
            raise ValueError("no room is named; leave `to` out for everybody")
        selection = self._target.selection
        return self._with(selection=Selection(selection.namespace, (*selection.rooms, *rooms), selection.except_rooms))

    def to_user(self, *user_ids: str) -> BroadcastOperator:
        """Select every connection of these users as well."""
        return self.to(*map(subjects.user_room, user_ids))

    def except_(self, *rooms: str) -> BroadcastOperator:
        """Leave out the connections in any of these rooms."""
        selection = self._target.selection
        excepted = (*selection.except_rooms, *rooms)
        return self._with(selection=Selection(selection.namespace, selection.rooms, excepted))

    def local(self, gateway: str) -> BroadcastOperator:
        """Select only the connections on one gateway: its address means one run, its name whichever run has it now."""
        return self._with(gateway=gateway)

    @property
    def volatile(self) -> BroadcastOperator:
        """Skip clients whose write buffer is full (Socket.IO's `volatile`)."""
        return self._with(volatile=True)

    def _with(self, **changes: Any) -> BroadcastOperator:
        return BroadcastOperator(self._requests, replace(self._target, **changes))

    # -- events ----------------------------------------------------------------------------------------------------

    async def emit(self, event: str, *args: Any) -> None:
        """Send an event. `bytes` anywhere in its arguments arrive as binary data.

        Two events that one process emits to a room arrive in order. Raises `Reject` when the event cannot be sent now.
        """
        # Without an inbox, so that gateways report nothing.
        await self._requests.send(self._emit(event, args, "", 0), self._target.gateway)

    async def flush(self) -> None:
        """Wait until the broker has everything that was emitted."""
        await self._requests.bus.flush()

    async def emit_with_acks(self, event: str, *args: Any, timeout: float) -> AcksResult:
        """Send an event and wait until all clients have acked it, at most `timeout` seconds."""
        replies = await self.collect_acks(event, args, timeout)
        answers: list[Any] = []
        for report in replies.received:
            for acked in report.answers:
                # An ack comes from a client and may be malformed; the others' answers are worth having all the same.
                with suppress(ValueError):
                    answers.append(ack_value(insert(acked.args, acked.attachments)))
        unanswered = map(GatewayRegistry.name_of, (*replies.unanswered, *replies.silent))
        return AcksResult(answers, replies.matched - len(answers), tuple(sorted(unanswered)))

    async def collect_acks(self, event: str, args: tuple[Any, ...], timeout: float) -> GatewayReplies[ClientAckReport]:
        """Send an event and return the gateways' reports of its acks. Raises `ValueError` for a bad `timeout`."""
        if not 0 <= timeout <= MAX_ACK_TIMEOUT:
            raise ValueError(f"a timeout is 0 to {MAX_ACK_TIMEOUT:.0f} seconds, not {timeout}")
        return await self._ask(lambda inbox: self._emit(event, args, inbox, timeout), ClientAckReport, timeout)

    def _emit(self, event: str, args: tuple[Any, ...], inbox: str, timeout: float) -> Emit:
        if event in RESERVED_EVENTS:
            raise ValueError(f"Socket.IO keeps the name {event!r} for itself")
        encoded, attachments = extract(args)
        return Emit(self._target.selection, inbox, event, encoded, attachments, self._target.volatile, timeout)

    # -- connections -----------------------------------------------------------------------------------------------

    async def fetch_connections(self) -> list[ConnectionInfo]:
        """Return the selected connections, each with its user and its rooms. Raises `Reject` as `join` does."""
        replies = await self._operate(lambda inbox: FetchConnections(self._target.selection, inbox), FetchedConnections)
        return [connection for page in replies.received for connection in page.connections]

    async def join(self, *rooms: str) -> int:
        """Put the connections into ad hoc rooms until they end. Return how many there are.

        This makes nobody a member: only their gateways know of it. Raises `ValueError` for a room that is not for this,
        and `Reject(timeout)` when a living gateway did not reply.
        """
        for room in rooms:
            subjects.check_ad_hoc(self._target.selection.namespace, room)
        return await self._count(lambda inbox: JoinRooms(self._target.selection, inbox, rooms))

    async def leave(self, *rooms: str) -> int:
        """Take the connections out of rooms. Return how many there are."""
        return await self._count(lambda inbox: LeaveRooms(self._target.selection, inbox, rooms))

    async def disconnect(self, *, close: bool = False) -> int:
        """Disconnect them from the namespace and, with `close`, close their transports. Return how many there were."""
        return await self._count(lambda inbox: Disconnect(self._target.selection, inbox, close))

    async def _count(self, operation: Callable[[str], Operation]) -> int:
        return (await self._operate(operation, OperationReport)).matched

    async def _operate(self, operation: Callable[[str], Operation], kind: type[ReplyT]) -> GatewayReplies[ReplyT]:
        replies = await self._ask(operation, kind, ANSWER_TIMEOUT)
        # A list or a number without one gateway's part would be taken for the whole.
        if not replies.complete:
            raise Reject(Code.TIMEOUT, "Not every gateway answered in time.")
        return replies

    async def _ask(
        self, operation: Callable[[str], Operation], kind: type[ReplyT], timeout: float
    ) -> GatewayReplies[ReplyT]:
        return await self._requests.request(operation, self._target.gateway, kind, timeout, self._target.most)


class Emitter(BroadcastOperator):
    """Every connection of a namespace; the beginning of every chain."""

    __slots__ = ()

    def __init__(self, bus: Bus | GatewayRequests, namespace: str) -> None:
        """Make an emitter on a bus. The testing kit passes requests that its fake gateway answers."""
        requests = bus if isinstance(bus, GatewayRequests) else GatewayRequests(bus)
        super().__init__(requests, _Target(Selection(namespace)))

    @classmethod
    @asynccontextmanager
    async def connected(cls, nats_url: str, namespace: str, *, name: str = "emitter") -> AsyncGenerator[Self]:
        """Connect an emitter for a process that is not a service, however long NATS takes, until the block ends."""
        # The instance's name is random: `PARLEY_INSTANCE` is meant for a service, and forked processes share it.
        async with connect(ServiceSettings(nats_url=nats_url, instance=""), name) as bus:
            emitter = cls(bus, namespace)
            await emitter.start()
            yield emitter

    @property
    def namespace(self) -> str:
        """The namespace whose connections this emitter selects."""
        return self._target.selection.namespace

    @property
    def requests(self) -> GatewayRequests:
        """The requests to gateways, for operations on the connections of all namespaces: auth kicks users with them."""
        return self._requests

    @property
    def registry(self) -> GatewayRegistry:
        """The registry of gateways that this emitter relies on."""
        return self._requests.registry

    async def start(self) -> None:
        """Begin to learn which gateways live. Without it the first request does, and takes two seconds longer."""
        await self._requests.start()

    def of(self, namespace: str) -> Emitter:
        """Return an emitter for another namespace, on the same bus and registry."""
        return Emitter(self._requests, namespace)

    async def present(self, *rooms: str) -> dict[str, PresentUsers]:
        """Ask all gateways once who is in these rooms, and be told nothing of what changes.

        Raises `Reject(unavailable)` without a connection to NATS.
        """
        return await presence_requests.present(self._requests, self.namespace, rooms)

    async def set_presence(self, user_id: str, choice: PresenceChoice) -> int:
        """Show a user as this, as `Context.set_presence` does, and return how many connections the user has.

        Without any, nothing is kept. Raises `Reject` as that does.
        """
        return await presence_requests.choose(self._requests, self.namespace, user_id, choice)

    def socket(self, sid: str, gateway: str = "") -> RemoteSocket:
        """Select one connection. Unless `gateway` is named, all gateways are asked: a recovered one may be on any."""
        # Gateways find it in its own room; the sid besides keeps out others that have joined a room of that name.
        target = replace(self._target, selection=Selection(self.namespace, (sid,), (), sid), gateway=gateway, most=1)
        return RemoteSocket(BroadcastOperator(self._requests, target), sid)


class RemoteSocket:
    """One connection on any gateway. Once it is gone, `emit_with_ack` and `fetch` raise, and the rest does nothing."""

    __slots__ = ("_only", "sid")

    def __init__(self, only: BroadcastOperator, sid: str) -> None:
        self._only = only
        self.sid = sid

    @property
    def volatile(self) -> RemoteSocket:
        """Skip it while its write buffer is full (Socket.IO's `volatile`)."""
        return RemoteSocket(self._only.volatile, self.sid)

    async def emit(self, event: str, *args: Any) -> None:
        """Send the client an event."""
        await self._only.emit(event, *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float) -> Any:
        """Send an event and return what the client acks. Raises `Reject`: `timeout`, or `not_found` when it is gone."""
        replies = await self._only.collect_acks(event, args, timeout)
        for acked in (acked for report in replies.received for acked in report.answers):
            try:
                return ack_value(insert(acked.args, acked.attachments))
            except ValueError as error:
                raise Reject(Code.INVALID_PAYLOAD, str(error)) from error
        if not replies.complete:
            raise Reject(Code.TIMEOUT, "The client did not answer in time.")
        raise Reject(Code.NOT_FOUND, "The connection is gone, or owes too many answers already.")

    async def fetch(self) -> ConnectionInfo:
        """Return the connection with its user and its rooms. Raises `Reject(not_found)` when it is gone."""
        for connection in await self._only.fetch_connections():
            return connection
        raise Reject(Code.NOT_FOUND, "There is no such connection.")

    async def join(self, *rooms: str) -> None:
        """Put the connection into ad hoc rooms, as `BroadcastOperator.join` does."""
        await self._only.join(*rooms)

    async def leave(self, *rooms: str) -> None:
        """Take the connection out of rooms."""
        await self._only.leave(*rooms)

    async def disconnect(self, *, close: bool = False) -> None:
        """Disconnect it from the namespace and, with `close`, close its transport."""
        await self._only.disconnect(close=close)


def ack_value(args: list[Any]) -> Any:
    """Return the arguments of an ack as a caller gets them: None, the only one, or a tuple of several."""
    return None if not args else args[0] if len(args) == 1 else tuple(args)
