"""The router: the table that names the controller of each event of a namespace, and the middleware around them.

A service fills it while its modules are imported. The `EventRunner` looks routes up in it; documents are made of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from parley.common.errors import Code, Reject
from parley.common.http import json_input
from parley.common.wire.binary import MAX_DEPTH, insert, too_deep
from parley.common.wire.identity import area_of
from parley.framework.routing.context import StateT
from parley.framework.routing.middleware import ConnectionMiddleware, PacketMiddleware
from parley.framework.routing.room_log import RoomLog
from parley.framework.routing.signatures import (
    Controller,
    Signature,
    is_plain,
    marked_methods,
    may_hold_binary,
    read_signature,
)

ControllerT = TypeVar("ControllerT", bound=Controller)

LIFECYCLE = frozenset({"connect", "disconnecting", "disconnect", "error"})
"""The events of a connection's life, and `error`. No client can send them, and they pass no packet middleware."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table."""

    event: str
    controller: Controller
    signature: Signature
    pipelined: bool
    binary: bool
    timeout: float | None
    """Seconds the controller may take; None stands for the service's default."""
    decoder: msgspec.json.Decoder[Any]
    binary_result: bool
    """Whether what the controller returns may hold binary data, as far as its annotation tells."""
    plain: bool
    """Whether calling the controller runs it; what it returns may be a future."""
    writes: bool
    """Whether it is refused to who may read only."""

    @property
    def place(self) -> str:
        """The place where the controller is defined, as `module:name`."""
        function: Any = inspect.unwrap(self.controller)
        return f"{function.__module__}:{getattr(function, '__qualname__', type(function).__qualname__)}"

    def arguments(self, args: bytes, attachments: tuple[bytes, ...] = ()) -> Sequence[Any]:
        """Decode the event's arguments into their types. Raises `Reject(invalid_payload)`."""
        if attachments and not self.binary:
            raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: takes no binary data")
        if too_deep(args):
            raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: nested deeper than {MAX_DEPTH} levels")
        try:
            if not self.binary:
                decoded = json_input.decode(self.decoder, args)
                if type(decoded) is tuple:
                    return decoded  # pyright: ignore[reportUnknownVariableType] - what the decoder is for
            else:
                decoded = json_input.convert(insert(args, attachments), self.decoder.type)
        except (msgspec.DecodeError, ValueError) as error:
            raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: {error}") from error
        except RecursionError as error:
            raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: nested too deeply") from error
        return msgspec.structs.astuple(decoded) if isinstance(decoded, msgspec.Struct) else decoded


class Router(Generic[StateT]):
    """The events of one namespace.

    router = Router("/dice")

    @router.on("roll")
    async def roll(context: Context, dice: int) -> Rolled: ...
    """

    def __init__(self, namespace: str, *, room_log: Callable[[StateT], RoomLog] | None = None) -> None:
        self.namespace = namespace
        self.area = area_of(namespace)
        """What the scopes of API keys call it."""
        self.room_log = room_log
        """A function that finds the log of the namespace's rooms in the service's state; None when they have no log."""
        self.routes: dict[str, Route] = {}
        self.sent: dict[str, Any] = {}
        """The events that clients are sent, with the type of their argument. Only documents are made from it."""
        self.packet_middleware: list[PacketMiddleware] = []
        self.connection_middleware: list[ConnectionMiddleware] = []

    # -- the table -------------------------------------------------------------------------------------------------

    def on(
        self,
        event: str,
        *,
        payload: Any = None,
        pipelined: bool = False,
        binary: bool = False,
        timeout: float | None = None,
        writes: bool = True,
    ) -> Callable[[ControllerT], ControllerT]:
        """`route` as a decorator."""

        def decorate(controller: ControllerT) -> ControllerT:
            self.route(
                event, controller, payload=payload, pipelined=pipelined, binary=binary, timeout=timeout, writes=writes
            )
            return controller

        return decorate

    def route(
        self,
        event: str,
        controller: Controller,
        *,
        payload: Any = None,
        pipelined: bool = False,
        binary: bool = False,
        timeout: float | None = None,
        writes: bool = True,
    ) -> None:
        """Route an event to a controller, whose annotations say which arguments the event has.

        A controller that is a plain function, and returns what it has or an `asyncio.Future` of it, holds no task.
        With `payload` it is one argument of that type, whatever the annotation. A connection's commands are handled
        one after the other; with `pipelined`, the next pipelined one starts before this one has ended: for controllers
        that take their place in a queue before they first wait. With `binary`, arguments may hold binary data, which
        is `bytes`. After `timeout` seconds, by default the service's, the controller is cancelled. Users who may read
        only, and API keys that may, are refused; without `writes` they are not: say that of an event that only reads.
        Raises `ValueError` when the event has a controller already, or an argument has no annotation.
        """
        if not event or not isinstance(event, str):  # pyright: ignore[reportUnnecessaryIsInstance] - from callers
            raise ValueError(f"{self.namespace}: an event's name is a text, not {event!r}")
        if event in self.routes:
            raise ValueError(f"{self.namespace} {event} is routed twice: {self.routes[event].place}")
        signature = read_signature(controller, payload)
        decoder = msgspec.json.Decoder[Any](signature.shape)
        binary_result = may_hold_binary(signature.returns)
        self.routes[event] = Route(
            event, controller, signature, pipelined, binary, timeout, decoder, binary_result, is_plain(controller),
            writes,
        )  # fmt: skip

    def controllers(self, kind: type[Any]) -> None:
        """Route the methods of a class that are marked with `on`. Each event gets an object of its own.

        The class is made with the context; its methods take the event's arguments.
        """
        for controller, event, options in marked_methods(kind):
            self.route(event, controller, **options)

    def sends(self, event: str, argument: Any = None) -> None:
        """Declare, for the documents, that clients are sent an event with an argument of this type."""
        if event in self.sent:
            raise ValueError(f"{self.namespace} {event} is described twice")
        self.sent[event] = argument

    # -- what surrounds it -----------------------------------------------------------------------------------------

    def use(self, *middleware: PacketMiddleware) -> None:
        """Put middleware around every event, inside of what was added before."""
        self.packet_middleware.extend(middleware)

    def use_connection(self, *middleware: ConnectionMiddleware) -> None:
        """Put middleware around every connection's life, inside of what was added before."""
        self.connection_middleware.extend(middleware)
