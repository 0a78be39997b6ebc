"""Reads the annotations of controllers: the types that msgspec decodes an event's arguments into, and that of its ack.

`Router.route` calls it once for each controller, while the service's modules are imported.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as inspection

Controller = Callable[..., Any]
"""A function of a `Context` and the event's typed arguments, async or plain, that returns the fields of the ack.

A plain one may return an `asyncio.Future` of them; no task waits for it.
"""
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_MARK = "_parley_event"
_MAY_BE_BINARY = (
    inspection.AnyType,
    inspection.BytesType,
    inspection.ByteArrayType,
    inspection.MemoryViewType,
    inspection.CustomType,
)
_INSIDE = ("types", "fields", "item_type", "item_types", "key_type", "value_type")
"""The attributes in which msgspec's descriptions of types hold the types that they are made of."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The arguments of an event and the result of its controller, as annotated."""

    types: tuple[Any, ...]
    shape: Any
    """The type that the JSON array of the arguments is decoded into."""
    required: int
    """How many arguments a client must send; the others have default values."""
    returns: Any
    """The annotation of the result; for a future, of its result. None when the controller has no annotation."""
    variadic: bool = False
    """Whether the controller takes any number of arguments (`*args`)."""


def read_signature(controller: Controller, payload: Any = None) -> Signature:
    """Read a controller's annotations; with `payload` the event has one argument of that type.

    Raises `ValueError` for a controller that cannot be called with a context and an event's arguments.
    """
    name = getattr(controller, "__qualname__", repr(controller))
    function: Any = inspect.unwrap(controller)
    if not inspect.isroutine(function):
        raise ValueError(f"{name} is not a function")
    hints = get_type_hints(function, include_extras=True)
    returns = _resolved(hints.get("return"))
    parameters = list(inspect.signature(controller).parameters.values())
    if not parameters:
        raise ValueError(f"{name} takes no context")
    if payload is not None:
        return Signature((payload,), tuple[payload], 1, returns)
    arguments = parameters[1:]
    if arguments and arguments[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return Signature((Any,), list[hints.get(arguments[0].name, Any)], 0, returns, variadic=True)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for number, parameter in enumerate(arguments):
        if parameter.kind not in {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}:
            raise ValueError(f"{name}: an event's arguments are positional, {parameter.name} is not")
        if parameter.name not in hints:
            raise ValueError(f"{name}: {parameter.name} has no annotation to decode it by")
        # The struct is an array on the wire, so the names of its fields are free.
        field = (f"argument{number}", hints[parameter.name])
        fields.append(field if parameter.default is parameter.empty else (*field, parameter.default))
    types = tuple(field[1] for field in fields)
    required = sum(len(field) == 2 for field in fields)
    if required == len(fields):
        return Signature(types, tuple[types] if types else tuple[()], required, returns)
    shape = msgspec.defstruct("Arguments", fields, array_like=True, forbid_unknown_fields=True)
    return Signature(types, shape, required, returns)


def _resolved(returns: Any) -> Any:
    """Return the type of a future's result, and any other type as it is."""
    if get_origin(returns) in _FUTURES:
        return get_args(returns)[-1]
    return returns


_FUTURES = (asyncio.Future, asyncio.Task, Awaitable, Coroutine)


def is_sync(controller: Controller) -> bool:
    """Whether a controller is a plain function: to call it is to run it."""
    return not inspect.iscoroutinefunction(inspect.unwrap(controller))


def may_hold_binary(kind: Any) -> bool:
    """Whether values of a type may hold `bytes`; true for types that do not tell, such as `Any` or none at all."""
    if kind is None:
        return True
    try:
        ahead: list[Any] = [inspection.type_info(kind)]
    except Exception:  # noqa: BLE001 - looking at a foreign annotation may raise whatever it likes
        return True
    seen: set[int] = set()
    while ahead:
        part = ahead.pop()
        # A type that refers to itself is described by one object, at which the search would come back for ever.
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, _MAY_BE_BINARY):
            return True
        if isinstance(part, inspection.Metadata):
            ahead.append(part.type)
        for name in _INSIDE:
            inside = getattr(part, name, None)
            if isinstance(inside, tuple):
                ahead.extend(getattr(each, "type", each) for each in cast("tuple[Any, ...]", inside))
            elif isinstance(inside, inspection.Type):
                ahead.append(inside)
    return False


class RouteOptions(TypedDict, total=False):
    """What may be said of a route besides its event and its controller; `Router.route` says what each means."""

    payload: Any
    pipelined: bool
    binary: bool
    timeout: float | None
    writes: bool
    own: bool


def on(event: str, **options: Unpack[RouteOptions]) -> Callable[[FunctionT], FunctionT]:
    """Mark a method of a controller class for `Router.controllers`. The options are those of `Router.route`."""

    def mark(method: FunctionT) -> FunctionT:
        setattr(method, _MARK, (event, options))
        return method

    return mark


def marked_methods(kind: type[Any]) -> Iterator[tuple[Controller, str, RouteOptions]]:
    """Find the marked methods of a class, each with its event and options, in the order in which they are written."""
    # From the base classes down, but each method as the class itself has it: an override keeps its place.
    for name in dict.fromkeys(name for holder in reversed(kind.__mro__) for name in vars(holder)):
        method = getattr(kind, name)
        if (mark := getattr(method, _MARK, None)) is not None:
            event, options = mark
            yield _controller(kind, name, method), event, options


def _controller(kind: type[Any], name: str, method: Any) -> Controller:
    def controller(context: Any, *args: Any) -> Any:
        return getattr(kind(context), name)(*args)

    # So that the method's own annotations are read; its `self` stands where a function has the context.
    controller.__wrapped__ = method  # pyright: ignore[reportFunctionMemberAccess]
    controller.__qualname__ = method.__qualname__
    return controller
