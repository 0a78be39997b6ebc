"""The context that controllers and packet middleware are given: one event, its sender, and how to answer and emit.

The dispatcher makes one (as an `Invocation`) for each command of a client, and the event runner hands it first to the
middleware, from the outermost in, then to the controller. All of them run on the service's event loop, one after the
other for one event. What is expensive is done when it is first asked for: handshake, data and arguments are decoded
then, and loggers are bound then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Sequence
from typing import Any, Generic

import msgspec
from structlog.stdlib import BoundLogger
from typing_extensions import TypeVar

from parley.common.errors import Code, Reject
from parley.common.process.logs import CONTEXTS, get_logger
from parley.common.wire.binary import extract, insert
from parley.common.wire.commands import Command, ConnectionCommands
from parley.common.wire.connections import ConnectRequest, Handshake
from parley.common.wire.operations import Selection
from parley.common.wire.presence import Presence, PresenceChoice
from parley.framework.remote import presence_requests
from parley.framework.remote.emitter import BroadcastOperator, Emitter, RemoteSocket
from parley.framework.routing.connection_data import ConnectionData

StateT = TypeVar("StateT", default=Any)
"""The type of the value that a service's lifespan yields for its controllers."""

_log = get_logger(CONTEXTS)
_handshakes = msgspec.msgpack.Decoder(Handshake)


class PeerContext:
    """The part that all contexts share: one connection, and the ways to emit to it and to others in its namespace."""

    __slots__ = ("_connection", "_data", "_emitter", "_handshake", "correlation", "gateway", "identity", "sid")

    def __init__(
        self,
        emitter: Emitter,
        gateway: str,
        connection: ConnectionCommands | ConnectRequest,
        correlation: str,
        data: ConnectionData,
    ) -> None:
        self.identity = connection.identity
        """The user, as proven by the token."""
        self.sid = connection.sid
        self.gateway = gateway
        """The address of the gateway that holds the connection."""
        self.correlation = correlation
        """The id that marks every log line about this event, in every process."""
        self._emitter = emitter
        self._connection = connection
        self._handshake: Handshake | None = None
        self._data = data

    @property
    def namespace(self) -> str:
        """The namespace that the connection is in."""
        return self._emitter.namespace

    @property
    def handshake(self) -> Handshake:
        """What the client connected with: `address`, `query`, `auth`, and the `headers` that the namespace exposes."""
        if self._handshake is None:
            encoded = self._connection.handshake
            self._handshake = _handshakes.decode(encoded) if encoded else Handshake()
        return self._handshake

    @property
    def data(self) -> dict[str, Any]:
        """A dict that the gateway keeps with the connection until it ends; every replica of the service sees it.

        It holds at most 4 KB of what msgpack can encode. An event that makes it larger is refused with
        `payload_too_large`, and all that the event changed in it is dropped.
        """
        return self._data.values

    @property
    def log(self) -> BoundLogger:
        """A logger whose lines name the connection."""
        return _log.bind(namespace=self.namespace, sid=self.sid, user=self.identity.user_id)

    # -- to this connection ----------------------------------------------------------------------------------------

    @property
    def socket(self) -> RemoteSocket:
        """This connection as a `RemoteSocket`, whose `emit_with_ack` waits for the client's ack."""
        return self._emitter.socket(self.sid, self.gateway)

    async def emit(self, event: str, *args: Any) -> None:
        """Send this connection an event."""
        await self.socket.emit(event, *args)

    @property
    def volatile(self) -> RemoteSocket:
        """This connection, but skip events while its write buffer is full (Socket.IO's `volatile`)."""
        return self.socket.volatile

    async def join(self, *rooms: str) -> None:
        """Put this connection into ad hoc rooms until it ends."""
        await self.socket.join(*rooms)

    async def leave(self, *rooms: str) -> None:
        """Take this connection out of rooms."""
        await self.socket.leave(*rooms)

    async def disconnect(self, *, close: bool = False) -> None:
        """Disconnect this connection from the namespace and, with `close`, close its transport."""
        await self.socket.disconnect(close=close)

    # -- who is there ----------------------------------------------------------------------------------------------

    async def presence(self, room: str) -> Presence:
        """Return who is in a room, and have this connection told what changes, as event `presence`, until it leaves.

        The connection has to be in the room itself. A user with several connections counts once. Raises `Reject`:
        `not_a_member`, `limit_exceeded`, `rate_limited`, `overloaded` or `timeout`.
        """
        return await presence_requests.look(self._emitter.requests, self._itself, self.gateway, room)

    async def stop_presence(self, room: str) -> None:
        """Have this connection told no more of who is in a room."""
        await presence_requests.stop_looking(self._emitter.requests, self._itself, self.gateway, room)

    async def set_presence(self, choice: PresenceChoice) -> None:
        """Show this connection's user as this, on all of the user's connections, for as long as these last.

        `invisible` is shown as not there, `automatic` as what the user's devices do. Raises `Reject(invalid_payload)`
        for anything else, and `Reject(timeout)` when a living gateway did not answer.
        """
        await presence_requests.choose(self._emitter.requests, self.namespace, self.identity.user_id, choice)

    async def set_idle(self, idle: bool) -> None:
        """Note whether somebody is using this connection; a user whose connections are all idle is shown as away."""
        await presence_requests.set_idle(self._emitter.requests, self._itself, self.gateway, idle=idle)

    @property
    def _itself(self) -> Selection:
        return Selection(self.namespace, (self.sid,), (), self.sid)

    # -- to others -------------------------------------------------------------------------------------------------

    @property
    def everybody(self) -> Emitter:
        """All connections of the namespace, this one included; `everybody.to(room)` are all in a room."""
        return self._emitter

    @property
    def broadcast(self) -> BroadcastOperator:
        """All other connections of the namespace."""
        return self._emitter.except_(self.sid)

    def to(self, *rooms: str) -> BroadcastOperator:
        """Select all other connections in any of these rooms; a sid and `user:<id>` are rooms, too."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator:
        """Select all other connections of the namespace but those in any of these rooms."""
        return self.broadcast.except_(*rooms)


class _Done:
    """The value that `ack` returns. It may be awaited or not, which makes no difference."""

    __slots__ = ()

    # A generator that yields nothing: `await` returns at once, without a turn of the loop.
    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


_DONE = _Done()


class Context(PeerContext, Generic[StateT]):
    """One event of a client: it passes the middleware, a controller handles it, and the result becomes the ack."""

    __slots__ = (
        "_answer", "_args", "_attachments", "_encoded_when_read", "_let_through", "_plain_result", "_raw",
        "event", "result", "state",
    )  # fmt: skip

    def __init__(
        self,
        emitter: Emitter,
        gateway: str,
        connection: ConnectionCommands | ConnectRequest,
        command: Command,
        data: ConnectionData,
        state: StateT,
    ) -> None:
        super().__init__(emitter, gateway, connection, command.correlation, data)
        self.event = command.event
        """The event's name. Middleware may set another."""
        self.state = state
        """The value that the service's lifespan yielded."""
        self.result: Any = None
        """The fields of the ack, as the controller returned them. Middleware may set it before or after."""
        self._answer: tuple[bytes, tuple[bytes, ...]] | None = None
        # These two are `Invocation`'s. A constructor of its own, only to set them, would cost a call for each event.
        self._let_through = False
        self._plain_result: Any = None
        self._raw = command.args
        self._attachments = command.attachments
        self._args: list[Any] | None = None
        self._encoded_when_read = b""
        """The arguments as JSON when they were first read, to find out later whether they were changed in place."""

    @property
    def args(self) -> list[Any]:
        """The event's arguments as the client sent them, with `bytes` in the place of binary data.

        Middleware may set another list, or change this one or anything in it. Raises `Reject(invalid_payload)` for
        arguments that are not JSON or are nested too deeply.
        """
        if self._args is None:
            try:
                self._args = insert(self._raw, self._attachments)
            except ValueError as error:
                raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: {error}") from error
            self._encoded_when_read = msgspec.json.encode(self._args)
        return self._args

    @args.setter
    def args(self, args: Sequence[Any]) -> None:
        self._raw, self._attachments = extract(args)
        self._args = None

    @property
    def encoded_args(self) -> tuple[bytes, tuple[bytes, ...]]:
        """The arguments in their wire form: a JSON array with placeholders, and the binary data."""
        # Middleware that has read the list may have changed it in place, which nothing else would show.
        if self._args is not None and msgspec.json.encode(self._args) != self._encoded_when_read:
            self.args = self._args
        return self._raw, self._attachments

    @property
    def log(self) -> BoundLogger:
        """A logger whose lines name the event and the connection."""
        return super().log.bind(event_name=self.event)

    def ack(self, *args: Any) -> Awaitable[None]:
        """Ack the event with these arguments instead of `{ok: true, ...}`, as servers of plain Socket.IO do.

        It may be awaited, as `emit` must be, or not. Raises `RuntimeError` when the event was acked already.
        """
        if self._answer is not None:
            raise RuntimeError(f"{self.event} was answered already")
        encoded, attachments = extract(args)
        # Without the array's brackets, as in the `payload` of an `Ack`.
        self._answer = encoded[1:-1], attachments
        # People await it, since they await all other ways to send. A coroutine would warn those who do not.
        return _DONE
