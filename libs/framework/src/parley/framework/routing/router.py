"""The router: the table that names the controller of each event of a namespace, and the middleware around them.

A service fills it while its modules are imported, and it does not change once the service runs. The `EventRunner` looks
up routes in it, and `asyncapi` makes documents of it. All that can be known of a controller is found out here, once:
how its arguments are decoded, whether it needs a task, whether its result may hold binary data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, Unpack

import msgspec

from parley.common.errors import Code, Reject
from parley.common.http import json_input
from parley.common.nesting import MAX_DEPTH, too_deep
from parley.common.wire.binary import insert
from parley.common.wire.identity import area_of
from parley.framework.routing.context import StateT
from parley.framework.routing.middleware import ConnectionMiddleware, PacketMiddleware
from parley.framework.routing.room_log import RoomLog
from parley.framework.routing.signatures import (
    Controller,
    RouteOptions,
    Signature,
    is_sync,
    marked_methods,
    may_hold_binary,
    read_signature,
)

ControllerT = TypeVar("ControllerT", bound=Controller)

LIFECYCLE = frozenset({"connect", "disconnecting", "disconnect", "error"})
"""The events of a connection's life, and `error`. Clients cannot send them, and packet middleware does not see them."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table: an event, its controller, and what was found out about that at import."""

    event: str
    controller: Controller
    signature: Signature
    pipelined: bool
    binary: bool
    timeout: float | None
    """Seconds that the controller may take; None stands for the service's default."""
    decoder: msgspec.json.Decoder[Any]
    binary_result: bool
    """Whether the annotation of the controller's result allows binary data in it."""
    sync: bool
    """Whether the controller is a plain function, which may still return a future."""
    writes: bool
    """Whether users who may read only are refused."""
    own: bool
    """Whether it changes what is its sender's alone, which whoever looks on in their place may not."""

    @property
    def place(self) -> str:
        """The place where the controller is defined, as `module:name`."""
        # Past decorators made with `functools.wraps`, to the function that somebody wants to find.
        function: Any = inspect.unwrap(self.controller)
        return f"{function.__module__}:{getattr(function, '__qualname__', type(function).__qualname__)}"

    def arguments(self, args: bytes, attachments: tuple[bytes, ...] = ()) -> Sequence[Any]:
        """Decode an event's arguments into the controller's parameter types. Raises `Reject(invalid_payload)`."""
        if attachments and not self.binary:
            raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: takes no binary data")
        # Before decoding: msgspec recurses over nested arrays.
        if too_deep(args):
            raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: nested deeper than {MAX_DEPTH} levels")
        try:
            if not self.binary:
                decoded = json_input.decode(self.decoder, args)
                # Controllers without default values have a tuple as their shape, which needs no conversion.
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
        """A function that finds the log of the namespace's rooms in the service's state; None for unlogged rooms."""
        self.routes: dict[str, Route] = {}
        self.sent: dict[str, Any] = {}
        """The events that clients are sent, with the type of their argument, for documents alone."""
        self.packet_middleware: list[PacketMiddleware] = []
        self.connection_middleware: list[ConnectionMiddleware] = []

    # -- the table -------------------------------------------------------------------------------------------------

    def on(self, event: str, **options: Unpack[RouteOptions]) -> Callable[[ControllerT], ControllerT]:
        """Do what `route` does, as a decorator."""

        def decorate(controller: ControllerT) -> ControllerT:
            self.route(event, controller, **options)
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
        own: bool = False,
    ) -> None:
        """Route an event to a controller, whose annotations tell which arguments the event has.

        - `payload`: the event has one argument of this type, whatever the annotations say.
        - `pipelined`: the connection's next pipelined command is started before this one has ended. It is for
          controllers that take their place in a queue before they first wait. Others are handled one after the other.
        - `binary`: arguments may hold binary data, which arrives as `bytes`.
        - `timeout`: the seconds after which the controller is cancelled; by default the service's.
        - `writes`: whether users and API keys that may read only are refused. Say False of an event that only reads.
        - `own`: that it changes what is its sender's alone, such as how far they have read, or protects them. Then who
          is suspended may send it, and administrators who look on in their place may not. Beside `writes=False`, so may
          API keys that may read only.

        A controller that is a plain function needs no task; it returns its result, or an `asyncio.Future` of it.
        Raises `ValueError` when the event has a controller already, or a parameter has no annotation.
        """
        if not event or not isinstance(event, str):  # pyright: ignore[reportUnnecessaryIsInstance] - from callers
            raise ValueError(f"{self.namespace}: an event's name is a text, not {event!r}")
        if event in self.routes:
            raise ValueError(f"{self.namespace} {event} is routed twice: {self.routes[event].place}")
        signature = read_signature(controller, payload)
        decoder = msgspec.json.Decoder[Any](signature.shape)
        binary_result = may_hold_binary(signature.returns)
        self.routes[event] = Route(
            event, controller, signature, pipelined, binary, timeout, decoder, binary_result, is_sync(controller),
            writes, own,
        )  # fmt: skip

    def controllers(self, kind: type[Any]) -> None:
        """Route the methods of a class that are marked with `on`.

        Each event makes an object of the class, with the context as its only argument; the method takes the event's
        arguments.
        """
        for controller, event, options in marked_methods(kind):
            self.route(event, controller, **options)

    def sends(self, event: str, argument: Any = None) -> None:
        """Declare that clients are sent an event with an argument of this type, for the documents."""
        if event in self.sent:
            raise ValueError(f"{self.namespace} {event} is described twice")
        self.sent[event] = argument

    # -- what surrounds it -----------------------------------------------------------------------------------------

    def use(self, *middleware: PacketMiddleware) -> None:
        """Put middleware around every event, inside of the middleware that was added before."""
        self.packet_middleware.extend(middleware)

    def use_connection(self, *middleware: ConnectionMiddleware) -> None:
        """Put middleware around every connection's life, inside of the middleware that was added before."""
        self.connection_middleware.extend(middleware)
