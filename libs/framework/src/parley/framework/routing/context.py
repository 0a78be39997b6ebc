"""The context that controllers and packet middleware are given: one event, its sender, and how to answer and emit."""

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
from parley.framework.remote.emitter import BroadcastOperator, Emitter, RemoteSocket
from parley.framework.routing.connection_data import ConnectionData

StateT = TypeVar("StateT", default=Any)
"""What a service's lifespan made for its controllers."""

_log = get_logger(CONTEXTS)
_handshakes = msgspec.msgpack.Decoder(Handshake)


class PeerContext:
    """The part that all contexts share: one connection, and emitting to it and to others in its namespace."""

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
        """The user, as the token proved it."""
        self.sid = connection.sid
        self.gateway = gateway
        """The gateway that holds the connection."""
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
        """What the client connected with: `address`, `query`, `auth`, the `headers` that the namespace asks for."""
        if self._handshake is None:
            encoded = self._connection.handshake
            self._handshake = _handshakes.decode(encoded) if encoded else Handshake()
        return self._handshake

    @property
    def data(self) -> dict[str, Any]:
        """A dict that the gateway keeps with the connection while it lasts; every replica of the service sees it.

        It holds at most 4 KB of what msgpack can encode. A larger one refuses the event that made it so, with
        `payload_too_large`, and nothing of the event's change is kept.
        """
        return self._data.values

    @property
    def log(self) -> BoundLogger:
        """A logger whose lines name the connection."""
        return _log.bind(namespace=self.namespace, sid=self.sid, user=self.identity.user_id)

    # -- to this connection ----------------------------------------------------------------------------------------

    @property
    def socket(self) -> RemoteSocket:
        """This connection as a `RemoteSocket`, which can also be asked with `emit_with_ack`."""
        return self._emitter.socket(self.sid, self.gateway)

    async def emit(self, event: str, *args: Any) -> None:
        """Send this connection an event."""
        await self.socket.emit(event, *args)

    @property
    def volatile(self) -> RemoteSocket:
        """This connection; events are skipped while its write buffer is full (Socket.IO's `volatile`)."""
        return self.socket.volatile

    async def join(self, *rooms: str) -> None:
        """Put this connection into rooms, for as long as it lasts."""
        await self.socket.join(*rooms)

    async def leave(self, *rooms: str) -> None:
        """Take this connection out of rooms."""
        await self.socket.leave(*rooms)

    async def disconnect(self, *, close: bool = False) -> None:
        """Disconnect this connection from the namespace and, with `close`, close its transport."""
        await self.socket.disconnect(close=close)

    # -- to others -------------------------------------------------------------------------------------------------

    @property
    def everybody(self) -> Emitter:
        """Everybody in the namespace, this connection included; `everybody.to(room)` is everybody in a room."""
        return self._emitter

    @property
    def broadcast(self) -> BroadcastOperator:
        """Everybody else in the namespace."""
        return self._emitter.except_(self.sid)

    def to(self, *rooms: str) -> BroadcastOperator:
        """Everybody else in any of these rooms; a sid is a room, and `user:<id>` is one."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator:
        """Everybody else, without those in any of these rooms."""
        return self.broadcast.except_(*rooms)


class _Done:
    """What `ack` returns. Awaiting it does nothing, and so does not awaiting it."""

    __slots__ = ()

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
        """What the service's lifespan made."""
        self.result: Any = None
        """What the controller returned: the fields of the ack. Middleware may set it, before or after."""
        self._answer: tuple[bytes, tuple[bytes, ...]] | None = None
        # The next two are `Invocation`'s. They are set here because a constructor of its own would cost a call per event.
        self._let_through = False
        self._plain_result: Any = None
        self._raw = command.args
        self._attachments = command.attachments
        self._args: list[Any] | None = None
        self._encoded_when_read = b""
        """The arguments as JSON when they were first read, to see later whether they were changed in place."""

    @property
    def args(self) -> list[Any]:
        """The event's arguments as the client sent them, `bytes` where there is binary data.

        Middleware may set another list, or change this one or anything in it. Raises `Reject(invalid_payload)` when
        what came is not JSON, or is nested too deeply.
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
        """The arguments as they travel: a JSON array with placeholders, and the binary data."""
        # The list was given away, so whoever has it may have changed it in place.
        if self._args is not None and msgspec.json.encode(self._args) != self._encoded_when_read:
            self.args = self._args
        return self._raw, self._attachments

    @property
    def log(self) -> BoundLogger:
        """A logger whose lines name the event and the connection."""
        return super().log.bind(event_name=self.event)

    def ack(self, *args: Any) -> Awaitable[None]:
        """Answer with these arguments instead of `{ok: true, ...}`, as Socket.IO's own acks are. Once only.

        It may be awaited, as `emit` must be, or not. Raises `RuntimeError` when the event was answered already.
        """
        if self._answer is not None:
            raise RuntimeError(f"{self.event} was answered already")
        encoded, attachments = extract(args)
        self._answer = encoded[1:-1], attachments
        # All the other ways to send are awaited, so people await this one. A coroutine would warn whoever does not.
        return _DONE
