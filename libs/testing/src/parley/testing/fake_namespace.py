"""A namespace without a network: its real middleware and controllers, with connections that exist only in the test.

    fake = FakeNamespace(router)
    ann, ben = await fake.connect("ann"), await fake.connect("ben")
    assert await ann.emit("roll", 6) == {"ok": True}
    assert await ben.event("rolled") == ["ann", 6]

Events are run by the real `EventRunner`, connection middleware by the real `ConnectionLifetime`. In the place of
gateways, NATS and the dispatcher are `FakeConnection` and `FakeGateway`. When a call of the test returns, everything
that the service does because of it has been done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from parley.common.wire.commands import Command, ConnectionCommands
from parley.common.wire.connections import ConnectionClosed, ConnectRequest, Handshake
from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.identifiers import uuid7
from parley.common.wire.identity import Identity
from parley.framework.remote.emitter import Emitter
from parley.framework.routing.connection_context import ConnectionContext
from parley.framework.routing.connection_data import ConnectionData, apply_changes
from parley.framework.routing.router import Router
from parley.framework.service import Service
from parley.framework.serving.connection_lifetime import ConnectionLifetime
from parley.framework.serving.event_result import EventResult
from parley.framework.serving.event_runner import EventRunner
from parley.framework.serving.gateway_responder import ADMIT_SECONDS
from parley.framework.serving.invocation import Invocation
from parley.testing.fake_connection import GATEWAY, HANDLING, FakeConnection
from parley.testing.fake_gateway import FakeGateway

_LIVES: set[asyncio.Task[None]] = set()
"""The tasks of connection middleware: a loop keeps only weak references, and a test may drop its connections."""


class FakeNamespace:
    """One namespace of a service, and the connections in it.

    The service's lifespan does not run: `state` stands for what it would yield. As a context manager it disconnects all
    connections in the end.
    """

    def __init__(self, service: Service[Any] | Router[Any], namespace: str | None = None, *, state: Any = None) -> None:
        """`namespace` is needed for a service with several. Raises `ValueError` when it is not clear which is meant."""
        self.router = _router(service, namespace)
        self.state = state
        """The value of `context.state`."""
        self._runner = EventRunner(self.router)
        self._open: dict[FakeConnection, tuple[ConnectionLifetime, asyncio.Task[None]] | None] = {}
        """The connections, each with the run of its connection middleware if there is any."""
        self._gateway = FakeGateway(self.namespace, self._open.keys(), self.settled)
        self.emitter = Emitter(self._gateway, self.namespace)
        """An emitter of the namespace, as any process may have one."""
        self._parting: dict[FakeConnection, asyncio.Task[None]] = {}
        """The connections that have ended, each with the task by which the service handles that."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self.connections:
            connection.end(DisconnectReason.SHUTDOWN)
        await self.settled()

    @property
    def namespace(self) -> str:
        """The namespace's name."""
        return self.router.namespace

    @property
    def connections(self) -> list[FakeConnection]:
        """The connections, in the order in which they were admitted."""
        return list(self._open)

    async def connect(
        self,
        user: str,
        roles: tuple[str, ...] = (),
        name: str | None = None,
        query: Mapping[str, str] | None = None,
        auth: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        suspended: bool = False,
        scopes: tuple[str, ...] | None = None,
    ) -> FakeConnection:
        """Connect as this user, or with an API key of these scopes, and return the connection.

        Raises the `Reject` with which it is refused.
        """
        handshake = Handshake(
            "127.0.0.1", dict(query or {}), dict(auth or {}), dict(headers or {}), False, time.time(), "websocket"
        )
        identity = Identity(
            user, user if name is None else name, tuple(roles), time.time(), suspended=suspended, scopes=scopes
        )
        connection = FakeConnection(self.router, identity, handshake, self._handle, self._on_end, self.settled)
        await self._admit(connection)
        # The argument tells whether the connection was recovered.
        await connection.notice("connect", False)
        await self.settled()
        return connection

    async def settled(self) -> None:
        """Wait until the service has handled the ends of connections."""
        # Not of one whose own event is being handled: its end waits for that event, which may be what waits here.
        while parting := [
            task for connection, task in self._parting.items() if not task.done() and not connection.in_flight
        ]:
            await asyncio.wait(parting)

    async def handle(self, invocation: Invocation[Any]) -> EventResult:
        """Run the middleware and the controller of an event until their deadline."""
        # The sweep cancels a controller at its deadline. In a service one sweep runs for all events.
        sweep = asyncio.create_task(self._runner.run_sweep())
        try:
            return await self._runner.handle(invocation)
        finally:
            sweep.cancel()

    async def _handle(
        self, connection: FakeConnection, event: str, args: bytes, attachments: tuple[bytes, ...]
    ) -> EventResult:
        command = Command(0, event, args, f"{GATEWAY}-{uuid7().hex}", attachments)
        sender = ConnectionCommands(connection.sid, connection.identity, [command], connection.handshake.encode())
        invocation = Invocation(self.emitter, GATEWAY, sender, command, connection.shared_data, self.state)
        outcome = await self.handle(invocation)
        if (changes := invocation.data_changes()) is not None:
            connection.encoded_data = apply_changes(connection.encoded_data, changes)
        return outcome

    def _on_end(self, connection: FakeConnection, closed: ConnectionClosed, rooms: list[str]) -> None:
        """Have connection middleware and controllers handle the end of a connection."""
        life = self._open.pop(connection)
        self._gateway.presence.refresh()
        if life is not None:
            life[0].leave(closed)
        self._parting[connection] = asyncio.create_task(self._part(connection, closed.reason, rooms, life))

    # -- coming and going ------------------------------------------------------------------------------------------

    async def _admit(self, connection: FakeConnection) -> None:
        """Admit a connection as `GatewayResponder` does, and carry out its reply as a gateway does."""
        data, correlation = ConnectionData(), f"conn-{uuid7().hex}"
        request = ConnectRequest(GATEWAY, connection.sid, connection.identity, connection.handshake.encode())
        context: ConnectionContext[Any] = ConnectionContext(self.emitter, request, correlation, data, self.state)
        members: list[str] = []

        async def core(_context: ConnectionContext) -> None:
            if self.router.room_log is not None:
                rooms = await self.router.room_log(self.state).memberships(connection.identity)
                members.extend(membership.room for membership in rooms)
            connection.encoded_data = data.changed() or b""

        life: tuple[ConnectionLifetime, asyncio.Task[None]] | None = None
        if self.router.connection_middleware:
            lifetime = ConnectionLifetime(self.router.connection_middleware, context, core)
            life = lifetime, _live(lifetime)
            # The gateway's part begins when the core has run; until then a refusal is raised to the test.
            await lifetime.admitted(ADMIT_SECONDS)
        else:
            await core(context)
        self._open[connection] = life
        self._gateway.presence.opened(connection)
        connection.connected = True
        connection.join([*members, *context.initial_rooms])
        for greeting in context.initial_events:
            connection.deliver(greeting)
        self._gateway.presence.refresh()

    async def _part(
        self,
        connection: FakeConnection,
        reason: str,
        rooms: list[str],
        life: tuple[ConnectionLifetime, asyncio.Task[None]] | None,
    ) -> None:
        try:
            for event in ("disconnecting", "disconnect"):
                await connection.notice(event, reason, rooms)
            if life is not None:
                await asyncio.wait([life[1]])
        finally:
            del self._parting[connection]


def _live(lifetime: ConnectionLifetime) -> asyncio.Task[None]:
    """Run connection middleware as a task."""

    async def run() -> None:
        HANDLING.set(True)
        await lifetime.run()

    task = asyncio.create_task(run(), name="connection middleware")
    _LIVES.add(task)
    task.add_done_callback(_LIVES.discard)
    return task


def _router(service: Service[Any] | Router[Any], namespace: str | None) -> Router[Any]:
    if isinstance(service, Router):
        return service
    if namespace is not None:
        if namespace not in service.routers:
            raise ValueError(f"{service.name} has no namespace {namespace}, only {', '.join(service.routers)}")
        return service.routers[namespace]
    if len(service.routers) != 1:
        raise ValueError(f"name one of the namespaces of {service.name}: {', '.join(service.routers)}")
    return next(iter(service.routers.values()))
