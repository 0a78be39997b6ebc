"""The router: which controller handles which event of a namespace. Pure: it decodes and dispatches, and does no I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from parley.common.attachments import attach
from parley.common.envelope import Identity
from parley.common.errors import Code, Reject

PayloadT = TypeVar("PayloadT")


@dataclass(frozen=True, slots=True)
class Context:
    """What a controller knows about the command it handles."""

    namespace: str
    event: str
    identity: Identity
    correlation: str
    """Follows the command from the socket to the log row."""
    sid: str = ""
    """The connection it came from; empty for REST."""
    gateway: str = ""


Controller = Callable[[Context, PayloadT], Awaitable[Any]]
"""Returns the fields of the ack (a mapping, a struct or None), or raises `Reject`."""


@dataclass(frozen=True, slots=True)
class Route(Generic[PayloadT]):
    """One row of the routing table."""

    event: str
    decoder: msgspec.json.Decoder[tuple[PayloadT]]
    controller: Controller[PayloadT]
    pipelined: bool
    binary: bool

    def payload(self, args: bytes, attachments: tuple[bytes, ...] = ()) -> PayloadT:
        """The event's single argument, typed. Raises `Reject(invalid_payload)`."""
        if attachments and not self.binary:
            raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: takes no binary data")
        try:
            if not self.binary:
                return self.decoder.decode(args)[0]
            return msgspec.convert(attach(args, attachments), self.decoder.type, builtin_types=(bytes,))[0]
        except (msgspec.DecodeError, ValueError) as error:
            raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: {error}") from error
        except RecursionError as error:
            raise Reject(Code.INVALID_PAYLOAD, f"{self.event}: nested too deeply") from error


class Router:
    """The events of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.routes: dict[str, Route[Any]] = {}

    def on(
        self,
        event: str,
        payload: type[PayloadT],
        controller: Controller[PayloadT],
        *,
        pipelined: bool = False,
        binary: bool = False,
    ) -> None:
        """Route an event to a controller.

        A connection's commands are handled one after the other. With `pipelined`, the next pipelined one starts
        before this one has ended: for controllers that take their place in a queue before they first wait.
        With `binary`, the argument may hold binary data, which is `bytes` in the payload.
        Raises `ValueError` when the event has a controller already.
        """
        if event in self.routes:
            raise ValueError(f"{self.namespace} {event} is routed twice")
        self.routes[event] = Route(event, msgspec.json.Decoder(tuple[payload]), controller, pipelined, binary)

    def match(self, event: str) -> Route[Any]:
        """The route of an event. Raises `Reject(unknown_event)`."""
        try:
            return self.routes[event]
        except KeyError:
            raise Reject(Code.UNKNOWN_EVENT, f"{self.namespace} has no event {event[:64]!r}.") from None
