"""Runs the gateway's connection middleware, and tells services that a connection is gone.

`Admission` calls `MiddlewareRunner.enter`, whose innermost function asks the service. `Lifecycle` calls `leave` once
for every connection that was entered, whatever ended it. In between, a connection's middleware is a suspended task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from parley.common.errors import Reject
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.connections import ConnectionClosed, ConnectRequest, Handshake
from parley.common.wire.identifiers import uuid7
from parley.framework.remote.emitter import Emitter
from parley.framework.routing.connection_context import ConnectionContext
from parley.framework.routing.connection_data import ConnectionData
from parley.framework.routing.middleware import ConnectionMiddleware
from parley.framework.serving.connection_lifetime import ConnectionLifetime
from parley.gateway import named_middleware
from parley.gateway.connections.connection import Connection
from parley.gateway.namespaces import Namespace
from parley.gateway.socketio.attempt import Attempt

log = get_logger(__name__)

ENTER_SECONDS = 20.0
"""Seconds that middleware may take to admit a connection, including the service's answer."""


class MiddlewareRunner:
    """Runs each namespace's connection middleware around the lives of its connections."""

    def __init__(self, bus: Bus, emitter: Emitter, namespaces: Mapping[str, Namespace]) -> None:
        self._bus = bus
        self._tasks = Tasks()
        self._emitter = emitter
        self._middleware: dict[str, list[ConnectionMiddleware]] = {
            name: [named_middleware.connection(wanted) for wanted in namespace.connection_middleware]
            for name, namespace in namespaces.items()
            if namespace.connection_middleware
        }

    async def close(self) -> None:
        """Cancel what still runs."""
        await self._tasks.close()

    async def enter(
        self, attempt: Attempt, connection: Connection, handshake: Handshake, admit: Callable[[], Awaitable[None]]
    ) -> None:
        """Run the middleware up to `call_next`, where `admit` is called.

        Raises `Reject` if the connection is not let in.
        """
        middlewares = self._middleware.get(connection.namespace)
        if middlewares is None:
            await admit()
            return
        data = ConnectionData()
        request = ConnectRequest(self._bus.run_address, connection.sid, connection.identity, handshake.encode())
        emitter = self._emitter.of(connection.namespace)
        context: ConnectionContext[None] = ConnectionContext(emitter, request, f"conn-{uuid7().hex}", data)

        async def core(_context: ConnectionContext) -> None:
            # What middleware keeps with the connection goes to the service with the request, so that it may change it.
            connection.data = data.changed() or b""
            await admit()
            reply = attempt.reply
            attempt.reply = msgspec.structs.replace(
                reply,
                initial_rooms=[*context.initial_rooms, *reply.initial_rooms],
                initial_events=[*context.initial_events, *reply.initial_events],
            )

        lifetime = ConnectionLifetime(middlewares, context, core)
        connection.on_closed = lifetime.leave
        # It lives as long as the connection does, so it cannot run in the attempt's task.
        self._tasks.spawn(lifetime.run(), name="connection middleware")
        await lifetime.admitted(ENTER_SECONDS)

    def leave(self, connection: Connection, reason: str) -> None:
        """Run the middleware after `call_next`, and tell the service that the connection is gone."""
        closed = ConnectionClosed(connection.sid, connection.sid, reason, connection.data)
        if connection.on_closed is not None:
            connection.on_closed(closed)
            # Once: a connection that is refused is left right away, and its end may be noticed later.
            connection.on_closed = None
        if "closed" in connection.lifecycle_events:
            self._tasks.spawn(self._tell(connection.namespace, closed), name="closed")

    async def _tell(self, namespace: str, closed: ConnectionClosed) -> None:
        try:
            await self._bus.publish(subjects.closed(namespace), closed.encode())
        except Reject as rejection:
            log.warning("not told that a connection is gone", sid=closed.sid, code=str(rejection.code))
