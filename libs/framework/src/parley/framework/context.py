"""What controllers and packet middleware are given: who sent what, over which connection, and the way to them all."""

from __future__ import annotations

from typing import Any, Generic

import msgspec
from structlog.stdlib import BoundLogger
from typing_extensions import TypeVar

from parley.common.attachments import attach, detach
from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.wire.connections import Handshake
from parley.common.wire.identity import Identity
from parley.framework.emitter import Broadcast, Emitter, RemoteSocket
from parley.framework.session import Session

StateT = TypeVar("StateT", default=Any)
"""What a service's lifespan made for its controllers."""

_log = get_logger("parley.service")
_handshakes = msgspec.msgpack.Decoder(Handshake)


class Peer:
    """The connection that something is about, and the way to it and to others in its namespace."""

    __slots__ = ("_emitter", "_handshake", "_session", "correlation", "gateway", "identity", "sid")

    def __init__(
        self,
        emitter: Emitter,
        identity: Identity,
        sid: str,
        gateway: str,
        correlation: str,
        handshake: bytes | Handshake,
        session: Session,
    ) -> None:
        self.identity = identity
        """Who it is: what a token proved."""
        self.sid = sid
        self.gateway = gateway
        """The gateway that holds it."""
        self.correlation = correlation
        """Follows what a client sent through every log."""
        self._emitter = emitter
        self._handshake = handshake
        self._session = session

    @property
    def namespace(self) -> str:
        """Where it is."""
        return self._emitter.namespace

    @property
    def handshake(self) -> Handshake:
        """How it came about: `address`, `query`, `auth`, the `headers` that the namespace asks for, `connected_at`."""
        if isinstance(self._handshake, bytes):
            self._handshake = _handshakes.decode(self._handshake) if self._handshake else Handshake()
        return self._handshake

    @property
    def session(self) -> dict[str, Any]:
        """What is kept with the connection, on any replica, while it lasts; at most 4 KB of what msgpack can encode."""
        return self._session.values

    def changed_session(self) -> bytes | None:
        """The session as it travels, if it has changed since this was last asked. One that cannot be kept is logged."""
        try:
            return self._session.changed()
        except (TypeError, ValueError, msgspec.MsgspecError):
            self.log.exception("a session that cannot be kept")
            return None

    def renew_session(self, encoded: bytes) -> None:
        """Look at what is kept with the connection now."""
        self._session = Session(encoded)

    @property
    def log(self) -> BoundLogger:
        """A logger that says which connection this is about."""
        return _log.bind(namespace=self.namespace, sid=self.sid, user=self.identity.user_id)

    # -- to this connection ----------------------------------------------------------------------------------------

    @property
    def socket(self) -> RemoteSocket:
        """This connection, to emit to, to ask with `emit_with_ack`, and to operate on."""
        return self._emitter.socket(self.sid, self.gateway)

    async def emit(self, event: str, *args: Any) -> None:
        """Send this connection an event."""
        await self.socket.emit(event, *args)

    @property
    def volatile(self) -> RemoteSocket:
        """This connection, unless it reads too slowly at the moment."""
        return self.socket.volatile

    async def join(self, *rooms: str) -> None:
        """Put this connection into rooms, for as long as it lasts."""
        await self.socket.join(*rooms)

    async def leave(self, *rooms: str) -> None:
        """Take this connection out of rooms."""
        await self.socket.leave(*rooms)

    async def disconnect(self, *, close: bool = False) -> None:
        """End its stay in the namespace and, with `close`, its transport."""
        await self.socket.disconnect(close=close)

    # -- to others -------------------------------------------------------------------------------------------------

    @property
    def everybody(self) -> Emitter:
        """Everybody in the namespace, this connection included; `everybody.to(room)` is everybody in a room."""
        return self._emitter

    @property
    def broadcast(self) -> Broadcast:
        """Everybody else in the namespace."""
        return self._emitter.except_(self.sid)

    def to(self, *rooms: str) -> Broadcast:
        """Everybody else in any of these rooms; a sid is a room, and `user:<id>` is one."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: str) -> Broadcast:
        """Everybody else, without those in any of these rooms."""
        return self.broadcast.except_(*rooms)


class Context(Peer, Generic[StateT]):
    """One event of a client on its way through the middleware to its controller, and the answer on its way back."""

    __slots__ = ("_args", "_attachments", "_raw", "answer", "event", "released", "result", "state")

    def __init__(
        self,
        emitter: Emitter,
        identity: Identity,
        sid: str = "",
        gateway: str = "",
        correlation: str = "",
        handshake: bytes | Handshake = b"",
        session: Session | None = None,
        *,
        event: str,
        args: bytes = b"[]",
        attachments: tuple[bytes, ...] = (),
        state: StateT,
    ) -> None:
        super().__init__(emitter, identity, sid, gateway, correlation, handshake, session or Session())
        self.event = event
        """Its name; middleware may set another."""
        self.state = state
        """What the service's lifespan made."""
        self.result: Any = None
        """What the controller returned: the fields of the ack. Middleware may set it, before or after."""
        self.answer: tuple[bytes, tuple[bytes, ...]] | None = None
        """What was answered with `ack`: JSON arguments and their binary data."""
        self.released = False
        """Whether all middleware let it through."""
        self._raw = args
        self._attachments = attachments
        self._args: list[Any] | None = None

    @property
    def args(self) -> list[Any]:
        """The event's arguments as they came, `bytes` where there is binary data. Setting it replaces them.

        Raises `Reject(invalid_payload)` when they are no JSON.
        """
        if self._args is None:
            try:
                self._args = attach(self._raw, self._attachments)
            except ValueError as error:
                raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: {error}") from error
        return self._args

    @args.setter
    def args(self, args: list[Any]) -> None:
        self._raw, self._attachments = detach(tuple(args))
        self._args = None

    @property
    def encoded_args(self) -> tuple[bytes, tuple[bytes, ...]]:
        """The arguments as they travel: a JSON array with placeholders, and the binary data."""
        return self._raw, self._attachments

    @property
    def log(self) -> BoundLogger:
        """A logger that says which event of which connection this is about."""
        return super().log.bind(event_name=self.event)

    def fresh(self, event: str, args: bytes) -> Context[StateT]:
        """Another event of the same connection."""
        return Context(
            self._emitter, self.identity, self.sid, self.gateway, self.correlation, self._handshake, self._session,
            event=event, args=args, state=self.state,
        )  # fmt: skip

    def stopped(self) -> Reject:
        """Why an event that nobody let through, or answered, is refused."""
        return Reject(Code.FORBIDDEN, f"{self.event[:64]} was not let through.")

    def ack(self, *args: Any) -> None:
        """Answer with these arguments instead of `{ok: true, ...}`, as Socket.IO's own acks are. Once only.

        Raises `RuntimeError` when it was answered already.
        """
        if self.answer is not None:
            raise RuntimeError(f"{self.event} was answered already")
        encoded, attachments = detach(args)
        self.answer = encoded[1:-1], attachments
