"""What an `Emitter` asks of gateways, done at once to the connections of a fake namespace by the gateway's rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from typing_extensions import override

from parley.common.wire.binary import extract
from parley.common.wire.codec import Wire, decode
from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.operations import (
    AnyOperation,
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
    Operation,
    OperationReport,
    Selection,
    decode_operation,
)
from parley.framework.remote.gateway_requests import GatewayRequests
from parley.framework.remote.reply_collector import GatewayReplies, ReplyCollector, ReplyT
from parley.testing.fake_connection import GATEWAY, HANDLING, FakeConnection


class FakeGateway(GatewayRequests):
    """Requests to gateways, done at once to the fake connections of one namespace."""

    def __init__(
        self, namespace: str, connections: Collection[FakeConnection], settled: Callable[[], Awaitable[None]]
    ) -> None:
        """Take the connections as they are at each request; `settled` waits for what follows the end of some."""
        # The base class is not initialised: there is no bus, and no gateway that could be away.
        self._namespace = namespace
        self._connections = connections
        self._settled = settled

    @override
    async def start(self) -> None:
        """There is nothing to learn."""

    @override
    async def send(self, operation: Operation, gateway: str) -> None:
        """Do an operation to the connections that it selects."""
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
    ) -> GatewayReplies[ReplyT]:
        """Do an operation and return the replies. A connection that does not answer at once is not waited for."""
        del timeout, most
        collector = ReplyCollector[ReplyT](gateway, None)
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
            case Disconnect() | Kick():
                reason = operation.code if isinstance(operation, Kick) else DisconnectReason.SERVER_DISCONNECT
                for target in targets:
                    target.end(reason)
                if not HANDLING.get():
                    await self._settled()
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
