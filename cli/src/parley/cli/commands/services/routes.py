"""`parley routes`: a service's routes, middleware and events, as tables to read."""

from __future__ import annotations

import inspect
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parley.cli.options import SERVICE_HELP, load
from parley.framework import Route, Router, Service
from parley.framework.routing.router import LIFECYCLE

WIDE = 10_000
"""Columns of the output without a terminal, so that a program that reads the table finds each route in one line."""


def routes(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help=SERVICE_HELP, show_default="parley.chat")
    ] = None,
) -> None:
    """Print which controller handles which event of services, their middleware and what they send."""
    services = [load(name) for name in names or ["parley.chat"]]
    output = _console()
    for number, service in enumerate(services):
        if number:
            output.print()
        _show_service(output, service)


def _console() -> Console:
    """Return a console as wide as the terminal, or one that never wraps where there is no terminal."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=WIDE, color_system=None)


def _show_service(output: Console, service: Service[Any]) -> None:
    output.print(Text.assemble((service.name, "bold")))
    for router in service.routers.values():
        _show_router(output, router)


def _show_router(output: Console, router: Router[Any]) -> None:
    table = Table(box=box.SIMPLE_HEAD if output.is_terminal else None, pad_edge=False, header_style="bold")
    for column in ("namespace", "event", "payload", "ack", "controller", "flags"):
        table.add_column(column, overflow="fold", no_wrap=not output.is_terminal)
    for route in router.routes.values():
        cells = (
            router.namespace, route.event, _payload(route), _ack(route), route.place, " ".join(_flags(route)) or "-"
        )  # fmt: skip
        # As `Text`, because names may contain brackets, which rich would take for markup.
        table.add_row(*map(Text, cells))
    output.print(table if router.routes else Text(f"{router.namespace} has no routes"))
    for kind, middleware in (
        ("connection middleware", router.connection_middleware),
        ("packet middleware", router.packet_middleware),
    ):
        if middleware:
            output.print(Text(f"{router.namespace} {kind}, outermost first: {', '.join(map(_place, middleware))}"))
    if router.sent:
        sent = ", ".join(f"{event} ({_type_name(kind)})" if kind else event for event, kind in router.sent.items())
        output.print(Text(f"{router.namespace} sends: {sent}"))


def _payload(route: Route) -> str:
    signature = route.signature
    if get_origin(signature.shape) is list:
        return f"*{_type_name(get_args(signature.shape)[0])}"
    names = [_type_name(kind) for kind in signature.types]
    optional = [f"{name}?" if number >= signature.required else name for number, name in enumerate(names)]
    return ", ".join(optional) or "-"


def _ack(route: Route) -> str:
    returns = route.signature.returns
    return "-" if route.event in LIFECYCLE or returns in {None, NoneType} else _type_name(returns)


def _flags(route: Route) -> list[str]:
    flags = [name for name in ("pipelined", "binary") if getattr(route, name)]
    if route.timeout is not None:
        flags.append(f"timeout={route.timeout:g}s")
    if route.event in LIFECYCLE:
        flags.append("lifecycle")
    return flags


def _place(function: Any) -> str:
    # A decorator of the project's own must not hide where its middleware is.
    unwrapped = inspect.unwrap(function)
    return f"{unwrapped.__module__}:{getattr(unwrapped, '__qualname__', type(unwrapped).__qualname__)}"


def _type_name(kind: Any) -> str:
    """Write a type without its modules and without constraints."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin in {Union, UnionType}:
        return " | ".join(map(_type_name, arguments))
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    if kind is NoneType:
        return "None"
    if kind is Ellipsis:
        return "..."
    name = str(getattr(origin or kind, "__qualname__", None) or kind).removeprefix("typing.")
    return f"{name}[{', '.join(map(_type_name, arguments))}]" if arguments else name
