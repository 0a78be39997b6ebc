"""Carries out what an `Emitter` asks of gateways, at once, on the connections of a fake namespace.

It takes the place of `GatewayRequests`, so that the emitter itself is the real one. Operations are encoded and decoded
on the way, so that what could not travel fails in a test as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from typing_extensions import override

from parley.common.wire.binary import extract
from parley.common.wire.codec import Wire, decode
from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.operations import (
    AnyOperation,
    AskPresent,
    ClientAck,
    ClientAckReport,
    Disconnect,
    Emit,
    FetchConnections,
    FetchedConnections,
    JoinRooms,
    Kick,
    LeaveRooms,
    ListConnections,
    Look,
    Operation,
    OperationReport,
    Recheck,
    RenewAddressBans,
    Selection,
    SetPresence,
    StopLooking,
    decode_operation,
)
from parley.framework.remote.gateway_requests import GatewayRequests
from parley.framework.remote.reply_collector import GatewayReplies, ReplyCollector, ReplyT
from parley.testing.fake_connection import GATEWAY, HANDLING, FakeConnection
from parley.testing.fake_presence import FakePresence


class FakeGateway(GatewayRequests):
    """Carries out requests to gateways on the fake connections of one namespace."""

    def __init__(
        self, namespace: str, connections: Collection[FakeConnection], settled: Callable[[], Awaitable[None]]
    ) -> None:
        """`connections` is read at each request. `settled` waits until the service has handled the ends of some."""
        # The base class is not initialised: there is no bus, and no registry of gateways.
        self._namespace = namespace
        self._connections = connections
        self._settled = settled
        self.presence = FakePresence(connections)
        """Who is in the rooms that somebody looks at."""

    @override
    async def start(self) -> None:
        """Do nothing: there are no gateways to learn of."""

    @override
    async def send(self, operation: Operation, gateway: str) -> None:
        """Carry out an operation on the connections that it selects."""
        if gateway in {"", GATEWAY}:
            await self._do(decode_operation(operation.encode()))

    @override
    async def request(
        self,
        operation: Callable[[str], Operation],
        gateway: str,
        kind: type[ReplyT],
        timeout: float,
        most: int | None = None,
        inbox: str = "",
    ) -> GatewayReplies[ReplyT]:
        """Carry out an operation and return the replies. A connection without an answer set does not ack."""
        del timeout, most, inbox
        collector = ReplyCollector[ReplyT](gateway, None)
        # Asked by another gateway's name or address, it plays NATS' no-responders status.
        if gateway in {"", GATEWAY}:
            collector.expect({GATEWAY}, all_known=True)
            report = await self._do(decode_operation(operation("inbox").encode()))
            collector.add(decode(report.encode(), kind))
        else:
            collector.no_listener = True
        return collector.result(())

    async def _do(self, operation: AnyOperation) -> Wire:
        targets = self._select(operation.selection)
        match operation:
            case Emit():
                return ClientAckReport(GATEWAY, len(targets), list(_deliver(operation, targets)))
            case FetchConnections():
                return FetchedConnections(GATEWAY, len(targets), [target.described() for target in targets])
            case JoinRooms(rooms=rooms):
                for target in targets:
                    target.join(rooms)
            case LeaveRooms(rooms=rooms):
                for target in targets:
                    target.leave(rooms)
            case ListConnections(limit=limit):
                listed = [target.described() for target in targets[:limit]]
                return FetchedConnections(GATEWAY, len(listed), listed)
            case Look():
                return self.presence.look(targets[0] if targets else None, operation)
            case AskPresent(rooms=rooms):
                return self.presence.present(self._namespace, rooms)
            case StopLooking(room=room):
                for target in targets:
                    self.presence.stop(room, target)
            case SetPresence():
                self.presence.set(targets, operation)
            case Recheck() | RenewAddressBans():
                pass  # there is no auth here that could have changed anything
            case Disconnect() | Kick():
                reason = operation.code if isinstance(operation, Kick) else DisconnectReason.SERVER_DISCONNECT
                for target in targets:
                    target.end(reason)
                # A controller that disconnects its own connection would wait for itself.
                if not HANDLING.get():
                    await self._settled()
        self.presence.refresh()
        return OperationReport(GATEWAY, len(targets))

    def _select(self, selection: Selection) -> list[FakeConnection]:
        if selection.namespace not in {"", self._namespace}:
            return []
        rooms, excepted = frozenset(selection.rooms), frozenset(selection.except_rooms)
        targets = list(self._connections)
        if selection.user_id:
            targets = [target for target in targets if target.identity.user_id == selection.user_id]
        if selection.sid:
            targets = [target for target in targets if target.sid == selection.sid]
        return [target for target in targets if (not rooms or target.is_in(rooms)) and not target.is_in(excepted)]


def _deliver(emit: Emit, targets: list[FakeConnection]) -> Iterable[ClientAck]:
    for target in targets:
        if emit.volatile and target.congested:
            continue
        if (answer := target.deliver(emit)) is not None:
            yield ClientAck(*extract(answer))
