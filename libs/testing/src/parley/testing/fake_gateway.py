"""What an `Emitter` asks of gateways, done at once to the connections of a fake namespace by the gateway's rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from parley.common.binary import extract
from parley.common.disconnects import DisconnectReason
from parley.common.wire.codec import Wire, decode
from parley.common.wire.connections import ConnectionInfo
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

GATEWAY = "fake"
"""The gateway that holds all fake connections."""
HANDLING: ContextVar[bool] = ContextVar("HANDLING", default=False)
"""Whether it is a controller or middleware that does something, and not the test itself."""


class Target(Protocol):
    """A connection as operations see it."""

    @property
    def sid(self) -> str:
        """Its sid."""
        ...

    @property
    def congested(self) -> bool:
        """Whether it reads too slowly at the moment."""
        ...

    def is_in(self, rooms: frozenset[str]) -> bool:
        """Whether it is in any of these rooms."""
        ...

    def deliver(self, emit: Emit) -> tuple[Any, ...] | None:
        """Take in an event and return what it is answered with, or None when it is not."""
        ...

    def join(self, rooms: Iterable[str]) -> None:
        """Be put into rooms."""
        ...

    def leave(self, rooms: Iterable[str]) -> None:
        """Be taken out of rooms."""
        ...

    def end(self, reason: str) -> None:
        """Be disconnected."""
        ...

    def described(self) -> ConnectionInfo:
        """Say who it is."""
        ...


class Gathering(Protocol):
    """Who is connected, and to what."""

    @property
    def namespace(self) -> str:
        """The namespace's name."""
        ...

    @property
    def connections(self) -> Sequence[Target]:
        """Those that are connected."""
        ...

    async def settled(self) -> None:
        """Wait for what follows."""
        ...


class FakeGateway(GatewayRequests):
    """Questions that fake connections answer."""

    def __init__(self, gathering: Gathering) -> None:
        # There is no bus, and no gateway to look out for.
        self._gathering = gathering

    async def start(self) -> None:
        """There is nothing to learn."""

    async def send(self, operation: Operation, gateway: str) -> None:
        """Do something with the connections."""
        if gateway in {"", GATEWAY}:
            await self._do(decode_operation(operation.encode()))

    async def request(
        self,
        operation: Callable[[str], Operation],
        gateway: str,
        kind: type[ReplyT],
        timeout: float,
        most: int | None = None,
    ) -> GatewayReplies[ReplyT]:
        """Do something with the connections and say how it went. Who does not answer now is not waited for."""
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
                return FetchedConnections(
                    GATEWAY, len(targets[:limit]), [target.described() for target in targets[:limit]]
                )
            case Disconnect() | Kick():
                reason = operation.code if isinstance(operation, Kick) else DisconnectReason.SERVER_DISCONNECT
                for target in targets:
                    target.end(reason)
                if not HANDLING.get():
                    await self._gathering.settled()
        return OperationReport(GATEWAY, len(targets))

    def _select(self, selection: Selection) -> list[Target]:
        if selection.namespace not in {"", self._gathering.namespace}:
            return []
        rooms, excepted = frozenset(selection.rooms), frozenset(selection.except_rooms)
        targets = self._gathering.connections
        if selection.user_id:
            targets = [target for target in targets if target.described().user_id == selection.user_id]
        if selection.sid:
            targets = [target for target in targets if target.sid == selection.sid]
        return [target for target in targets if (not rooms or target.is_in(rooms)) and not target.is_in(excepted)]


def _deliver(emit: Emit, targets: list[Target]) -> Iterable[ClientAck]:
    for target in targets:
        if emit.volatile and target.congested:
            continue
        if (answer := target.deliver(emit)) is not None:
            yield ClientAck(*extract(answer))
