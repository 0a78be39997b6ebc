"""A connection that exists only in a test, and does itself what a gateway would do for it.

It keeps the promises of a gateway to a service: events are handled one after the other unless they are pipelined, an
event sees the data that earlier events left, and lifecycle events keep their place between the others. All of it runs
on the test's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import ContextVar
from typing import Any

import msgspec

from parley.common.errors import Code, Reject
from parley.common.wire import subjects
from parley.common.wire.binary import Unsendable, extract, insert
from parley.common.wire.commands import RESERVED_EVENTS
from parley.common.wire.connections import ConnectionClosed, ConnectionInfo, Handshake
from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.identifiers import uuid7
from parley.common.wire.identity import Identity
from parley.common.wire.operations import Emit
from parley.common.wire.rooms import UnloggedEvent
from parley.framework.remote.emitter import ack_value
from parley.framework.routing.connection_data import ConnectionData
from parley.framework.routing.router import LIFECYCLE, Router
from parley.framework.serving.event_result import EventResult
from parley.testing.mailbox import Mailbox

GATEWAY = "fake"
"""The name of the gateway that holds all fake connections."""
HANDLING: ContextVar[bool] = ContextVar("HANDLING", default=False)
"""Whether a controller or middleware is running, and not the test: a controller must not wait for its own end."""


class FakeConnection(Mailbox):
    """One connection of a `FakeNamespace`. Its `connect` makes it."""

    def __init__(
        self,
        router: Router[Any],
        identity: Identity,
        handshake: Handshake,
        handle: Callable[[FakeConnection, str, bytes, tuple[bytes, ...]], Awaitable[EventResult]],
        on_end: Callable[[FakeConnection, ConnectionClosed, list[str]], None],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        """Make a connection that is not connected yet.

        `handle` runs the service's controller for an event. `on_end` is called once, with the rooms that the connection
        was in. `settled` waits until the service has handled the ends of connections.
        """
        super().__init__()
        self.sid = f"{GATEWAY}.{uuid7().hex}"
        self.identity = identity
        self.connected = False
        self.congested = False
        """Set this to play a client that reads too slowly: it misses volatile events."""
        self.in_flight = 0
        """How many of its events are being handled."""
        self.encoded_data = b""
        """The encoded `context.data`, as a gateway would keep it."""
        self.handshake = handshake
        self.shared_data = ConnectionData()
        """The data that the events share that are being handled at the same time, as those of a batch do."""
        self._router = router
        self._handle = handle
        self._on_end = on_end
        self._settled = settled
        self._own_room = subjects.user_room(identity.user_id)
        self._rooms = {self._own_room}
        self._turn = asyncio.Lock()
        self._pipelined: set[asyncio.Task[EventResult]] = set()

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that the connection was put into."""
        return frozenset(self._rooms - {self._own_room})

    @property
    def data(self) -> dict[str, Any]:
        """The map that the service keeps with the connection (`context.data`)."""
        return ConnectionData(self.encoded_data).values

    # -- what its client does --------------------------------------------------------------------------------------

    async def emit(self, event: str, *args: Any) -> Any:
        """Emit an event and return its ack: `{"ok": ...}`, or what the controller passed to `ack`, several as a tuple.

        Raises `ConnectionError` when it is not connected.
        """
        outcome = await self._send(event, args)
        return ack_value(insert(b"[" + outcome.payload + b"]", outcome.attachments))

    async def tell(self, event: str, *args: Any) -> None:
        """Emit an event without asking for an ack; a failure arrives as event `error`."""
        self._report(await self._send(event, args))

    async def disconnect(self, reason: str = DisconnectReason.CLIENT_LEFT) -> None:
        """Disconnect, and wait until the service has handled it."""
        self.end(reason)
        await self._settled()

    async def _send(self, event: str, args: tuple[Any, ...]) -> EventResult:
        if not self.connected:
            raise ConnectionError(f"{self.identity.user_id} is not connected")
        try:
            encoded, attachments = extract(args)
        except Unsendable as error:
            # A real client would send it, and the service would refuse it.
            return EventResult.refused(Reject(Code.INVALID_PAYLOAD, f"{event}: {error}"))
        if event in RESERVED_EVENTS or event in LIFECYCLE:
            return EventResult.refused(Reject(Code.UNKNOWN_EVENT, f"The name {event!r} is reserved."))
        # As a gateway does it: events that are sent while others are under way share the data with those.
        if not self.in_flight:
            self.shared_data = ConnectionData(self.encoded_data)
        self.in_flight += 1
        try:
            outcome = await self._in_turn(event, lambda: self._run(event, encoded, attachments))
        finally:
            self.in_flight -= 1
        await self._settled()
        return outcome

    # -- what its gateway does -------------------------------------------------------------------------------------

    async def notice(self, event: str, *args: Any) -> None:
        """Send the service a lifecycle event, in order with the client's events, if there is a controller for it."""
        if event in self._router.routes:
            # A lifecycle event is a batch of its own, so it begins with the data that the gateway keeps.
            self.shared_data = ConnectionData(self.encoded_data)
            self._report(await self._in_turn(event, lambda: self._run(event, msgspec.json.encode(args), ())))

    def is_in(self, rooms: frozenset[str]) -> bool:
        """Whether the connection is in any of these rooms; its sid and `user:<id>` are rooms, too."""
        return self.sid in rooms or not rooms.isdisjoint(self._rooms)

    def deliver(self, emit: Emit | UnloggedEvent) -> tuple[Any, ...] | None:
        """Receive an event, and return the ack that the test has set for it, or None."""
        self._take_in(emit.event, insert(emit.args, emit.attachments))
        return self._answers.get(emit.event)

    def join(self, rooms: Iterable[str]) -> None:
        """Put the connection into rooms."""
        self._rooms |= set(rooms) - {self.sid}

    def leave(self, rooms: Iterable[str]) -> None:
        """Take the connection out of rooms, but never out of its user's own."""
        self._rooms -= set(rooms) - {self._own_room}

    def end(self, reason: str) -> None:
        """End the connection for this reason. To do it again is harmless."""
        if self.connected:
            self.connected = False
            self._gone.set()
            self._on_end(self, ConnectionClosed(self.sid, self.sid, reason, self.encoded_data), sorted(self._rooms))

    def described(self) -> ConnectionInfo:
        """Describe the connection as `fetch_connections` does."""
        identity, handshake = self.identity, self.handshake
        return ConnectionInfo(
            self.sid, identity.user_id, identity.name, self._router.namespace, GATEWAY, handshake.address,
            handshake.transport, handshake.connected_at, [self.sid, *sorted(self._rooms)],
        )  # fmt: skip

    def _report(self, outcome: EventResult) -> None:
        if not outcome.ok and self.connected:
            self._take_in("error", [msgspec.json.decode(outcome.payload)["error"]])

    async def _in_turn(self, event: str, work: Callable[[], Coroutine[Any, Any, EventResult]]) -> EventResult:
        """Handle an event once those before it have ended, or beside them if all of them are pipelined."""
        route = self._router.routes.get(event)
        # The lock keeps the order of the events; a pipelined one gives it back once its task was made.
        async with self._turn:
            if route is None or not route.pipelined:
                await asyncio.gather(*self._pipelined, return_exceptions=True)
                return await asyncio.create_task(work())
            task = asyncio.create_task(work())
            self._pipelined.add(task)
            task.add_done_callback(self._pipelined.discard)
        return await task

    async def _run(self, event: str, args: bytes, attachments: tuple[bytes, ...]) -> EventResult:
        HANDLING.set(True)
        return await self._handle(self, event, args, attachments)
