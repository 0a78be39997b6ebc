"""Socket.IO's server side: emit to connections on any gateway, ask them, and operate on them.

A service has one in every context. Any other process connects its own:

    async with Emitter.connected("nats://127.0.0.1:4222", "/shop") as emitter:
        await emitter.to("room1", "room2").except_(sid).volatile.emit("price", {"usd": 5})
        result = await emitter.to("couriers").emit_with_acks("offer", order, timeout=5)

Nothing of this is logged: what a gateway or a client misses is gone. Facts belong into the log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from copy import copy
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
    ClientAck,
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
from parley.framework.remote.gateway_registry import GatewayRegistry
from parley.framework.remote.gateway_requests import GatewayRequests
from parley.framework.remote.reply_collector import GatewayReplies, ReplyT

ANSWER_TIMEOUT = 5.0
"""Seconds that gateways have to answer."""
MAX_ACK_TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class AcksResult:
    """What clients answered, and how many that were asked did not: not in time, or they are gone.

    An answer is the ack's argument, None without one, a tuple of several.
    """

    answers: list[Any]
    missing: int
    unanswered: tuple[str, ...] = ()
    """The names of gateways that did not even say how many they asked: living ones, and some that fell silent."""


@dataclass(frozen=True, slots=True)
class _Target:
    selection: Selection
    gateway: str = ""
    volatile: bool = False
    most: int | None = None
    """How many connections it can be, if that is known: 1 for a sid. Once they are found, nobody else is waited for."""


class BroadcastOperator:
    """Some connections of a namespace, and what to do with them. Immutable: each step makes another."""

    __slots__ = ("_requests", "_target")

    def __init__(self, requests: GatewayRequests, target: _Target) -> None:
        self._requests = requests
        self._target = target

    # -- to whom, and how ------------------------------------------------------------------------------------------

    def to(self, *rooms: str) -> BroadcastOperator:
        """Also those in any of these rooms; a sid and `user:<id>` are rooms. Raises `ValueError` when none is named.

        Whoever is in several gets one copy. Where `to` is never called it is everybody.
        """
        if not rooms:
            raise ValueError("no room is named; leave `to` out for everybody")
        selection = self._target.selection
        return self._with(selection=Selection(selection.namespace, (*selection.rooms, *rooms), selection.except_rooms))

    def to_user(self, *user_ids: str) -> BroadcastOperator:
        """Also every connection of these users."""
        return self.to(*map(subjects.user_room, user_ids))

    def except_(self, *rooms: str) -> BroadcastOperator:
        """Without those in any of these rooms."""
        selection = self._target.selection
        excepted = (*selection.except_rooms, *rooms)
        return self._with(selection=Selection(selection.namespace, selection.rooms, excepted))

    def local(self, gateway: str) -> BroadcastOperator:
        """Only those on this gateway, which is named by its address, or by its name whatever run has it now."""
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

        What is emitted to a room, one after the other, arrives in that order. Raises `Reject` when it cannot be sent.
        """
        await self._requests.send(self._emit(event, args, "", 0), self._target.gateway)

    async def flush(self) -> None:
        """Wait until the broker has what was emitted."""
        await self._requests.bus.flush()

    async def emit_with_acks(self, event: str, *args: Any, timeout: float) -> AcksResult:
        """Send an event and wait until all have answered, at most `timeout` seconds."""
        replies = await self.collect_acks(event, args, timeout)
        answers: list[Any] = []
        for report in replies.received:
            for acked in report.answers:
                # What one client sends must not spoil the others' answers.
                with suppress(ValueError):
                    answers.append(_value(acked))
        unanswered = map(GatewayRegistry.name_of, (*replies.unanswered, *replies.silent))
        return AcksResult(answers, replies.matched - len(answers), tuple(sorted(unanswered)))

    async def collect_acks(self, event: str, args: tuple[Any, ...], timeout: float) -> GatewayReplies[ClientAckReport]:
        """Send an event and collect what the gateways report of its acks."""
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
        """Return who they are, and in which rooms."""
        replies = await self._operate(lambda inbox: FetchConnections(self._target.selection, inbox), FetchedConnections)
        return [connection for page in replies.received for connection in page.connections]

    async def join(self, *rooms: str) -> int:
        """Put them into rooms for as long as they last, and return how many they are. Raises `ValueError`.

        This makes nobody a member: it is known to their gateways alone, and ends with the connection.
        """
        for room in rooms:
            subjects.check_ad_hoc(self._target.selection.namespace, room)
        return await self._count(lambda inbox: JoinRooms(self._target.selection, inbox, rooms))

    async def leave(self, *rooms: str) -> int:
        """Take them out of rooms, and return how many they are."""
        return await self._count(lambda inbox: LeaveRooms(self._target.selection, inbox, rooms))

    async def disconnect(self, *, close: bool = False) -> int:
        """End their stay in the namespace and, with `close`, their transports. Returns how many they were."""
        return await self._count(lambda inbox: Disconnect(self._target.selection, inbox, close))

    async def _count(self, operation: Callable[[str], Operation]) -> int:
        return (await self._operate(operation, OperationReport)).matched

    async def _operate(self, operation: Callable[[str], Operation], kind: type[ReplyT]) -> GatewayReplies[ReplyT]:
        replies = await self._ask(operation, kind, ANSWER_TIMEOUT)
        if not replies.complete:
            raise Reject(Code.TIMEOUT, "Not every gateway answered in time.")
        return replies

    async def _ask(
        self, operation: Callable[[str], Operation], kind: type[ReplyT], timeout: float
    ) -> GatewayReplies[ReplyT]:
        return await self._requests.request(operation, self._target.gateway, kind, timeout, self._target.most)


class Emitter(BroadcastOperator):
    """Everybody in a namespace; the beginning of every chain."""

    __slots__ = ()

    def __init__(self, bus: Bus | GatewayRequests, namespace: str) -> None:
        requests = bus if isinstance(bus, GatewayRequests) else GatewayRequests(bus)
        super().__init__(requests, _Target(Selection(namespace)))

    @classmethod
    @asynccontextmanager
    async def connected(cls, nats_url: str, namespace: str, *, name: str = "emitter") -> AsyncGenerator[Self]:
        """An emitter of a process that is no service, on a connection of its own. Waits for NATS to be there."""
        # A name of its own each time: `PARLEY_INSTANCE` is meant for a service, and forked processes share it.
        async with connect(ServiceSettings(nats_url=nats_url, instance=""), name) as bus:
            emitter = cls(bus, namespace)
            await emitter.start()
            yield emitter

    @property
    def namespace(self) -> str:
        """The namespace whose connections these are."""
        return self._target.selection.namespace

    @property
    def requests(self) -> GatewayRequests:
        """The requests to gateways, for operations on connections of all namespaces."""
        return self._requests

    @property
    def registry(self) -> GatewayRegistry:
        """The gateways that live."""
        return self._requests.registry

    async def start(self) -> None:
        """Begin to learn which gateways live. The first request does it otherwise, and waits two seconds longer."""
        await self._requests.start()

    def of(self, namespace: str) -> Emitter:
        """Everybody in another namespace."""
        other = copy(self)
        other._target = _Target(Selection(namespace))  # noqa: SLF001 - a copy of itself
        return other

    def socket(self, sid: str, gateway: str = "") -> RemoteSocket:
        """One connection. Unless its gateway is named, all hear of it: one that recovered may be on any."""
        target = replace(self._target, selection=Selection(self.namespace, (sid,), (), sid), gateway=gateway, most=1)
        return RemoteSocket(BroadcastOperator(self._requests, target), sid)


class RemoteSocket:
    """One connection. Without it, requests raise `Reject(not_found)` and the rest does nothing."""

    __slots__ = ("_only", "sid")

    def __init__(self, only: BroadcastOperator, sid: str) -> None:
        self._only = only
        self.sid = sid

    @property
    def volatile(self) -> RemoteSocket:
        """Skip it while its write buffer is full (Socket.IO's `volatile`)."""
        return RemoteSocket(self._only.volatile, self.sid)

    async def emit(self, event: str, *args: Any) -> None:
        """Send an event."""
        await self._only.emit(event, *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float) -> Any:
        """Send an event and return the client's answer. Raises `Reject`, `not_found` when it is gone."""
        replies = await self._only.collect_acks(event, args, timeout)
        for acked in (acked for report in replies.received for acked in report.answers):
            try:
                return _value(acked)
            except ValueError as error:
                raise Reject(Code.INVALID_PAYLOAD, str(error)) from error
        if not replies.complete:
            raise Reject(Code.TIMEOUT, "The client did not answer in time.")
        raise Reject(Code.NOT_FOUND, "The connection is gone, or owes too many answers already.")

    async def fetch(self) -> ConnectionInfo:
        """Return who it is, and in which rooms."""
        for connection in await self._only.fetch_connections():
            return connection
        raise Reject(Code.NOT_FOUND, "There is no such connection.")

    async def join(self, *rooms: str) -> None:
        """Put it into rooms, as `BroadcastOperator.join` does."""
        await self._only.join(*rooms)

    async def leave(self, *rooms: str) -> None:
        """Take it out of rooms."""
        await self._only.leave(*rooms)

    async def disconnect(self, *, close: bool = False) -> None:
        """End its stay in the namespace and, with `close`, its transport."""
        await self._only.disconnect(close=close)


def _value(acked: ClientAck) -> Any:
    args = insert(acked.args, acked.attachments)
    return None if not args else args[0] if len(args) == 1 else tuple(args)
