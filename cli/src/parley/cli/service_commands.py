"""The developer's commands: run, look at and begin services written with the framework."""

from __future__ import annotations

from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from parley.cli.commands import routes
from parley.cli.failure import Failure, fail
from parley.cli.scaffold import new_service
from parley.framework import Service
from parley.framework.running.loading import ServiceNotFound, load_service
from parley.framework.running.run import serve, watch

TARGET = (
    "The service: MODULE or MODULE:ATTRIBUTE, by default its attribute `service`, in the module or in its submodule "
    "`service`. The working directory is searched first."
)
Target = Annotated[str, typer.Argument(metavar="NAME", help=TARGET, show_default=False)]


class Format(StrEnum):
    """How an AsyncAPI document is written."""

    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


def run(
    name: Target,
    *,
    reload: Annotated[
        bool,
        typer.Option("--reload", help="Start again whenever its code changes; other services do not."),
    ] = False,
) -> None:
    """Run a service until it is stopped, with /healthz, /readyz and /metrics. Settings come from PARLEY_*."""
    if reload:
        # Without loading it: code that cannot be loaded is waited for to change.
        watch(name.partition(":")[0])
        return
    try:
        found = _load(name)
    except KeyboardInterrupt as interrupt:
        # Code changes while it is being loaded, too.
        raise typer.Exit(130) from interrupt
    serve(found)


def show_routes(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help=TARGET, show_default="parley.chat")
    ] = None,
) -> None:
    """Print which controller handles which event of services, their middleware and what they send."""
    services = [_load(name) for name in names or ["parley.chat"]]
    output = routes.console()
    for number, service in enumerate(services):
        if number:
            output.print()
        routes.show(output, service)


def asyncapi(
    name: Target,
    *,
    format: Annotated[Format, typer.Option(help="What to write it as.")] = Format.JSON,  # noqa: A002 - the option's name
    output: Annotated[Path | None, typer.Option(help="File to write; without one it is printed.")] = None,
) -> None:
    """Describe a service's events and their payloads as an AsyncAPI document."""
    from parley.framework import asyncapi as documents  # noqa: PLC0415 - of use to this command alone

    document = documents.document(_load(name), version=version("parley-cli"))
    match format:
        case Format.JSON:
            text = msgspec.json.format(msgspec.json.encode(document)).decode()
        case Format.MARKDOWN:
            text = documents.render_markdown(document)
        case Format.HTML:
            text = documents.render_html(document)
    if output is None:
        typer.echo(text.rstrip("\n"))
        return
    try:
        output.write_text(text.rstrip("\n") + "\n", "utf-8")
    except OSError as error:
        fail(Failure(f"cannot write {output}: {error.strerror}"))


new = typer.Typer(name="new", help="Begin something new in the working directory.", no_args_is_help=True)


@new.callback()
def new_something() -> None:
    """Begin something new in the working directory."""


@new.command()
def service(
    name: Annotated[
        str,
        typer.Argument(help="Of the package, the service and the namespace /NAME: lower case, a Python identifier."),
    ],
) -> None:
    """Write a working service: its package, a test, and its entries in namespaces.toml and the compose file."""
    try:
        planned = new_service.plan(name)
        planned.write()
    except Failure as failure:
        fail(failure)
    for path in planned.new:
        typer.echo(f"Wrote    {path}")
    for path in planned.changed:
        typer.echo(f"Added to {path}")
    for note in planned.notes:
        typer.echo(note)
    typer.echo("\nNext:")
    for command, meaning in (
        ("parley up", f"everything on http://localhost:8000; {name} restarts when its code changes"),
        (f"pytest tests/test_{name}.py", "its test; needs pytest and pytest-asyncio"),
        (
            "docker compose up --build",
            "the production layout, once a checkout of Parley has made the image: docker compose build",
        ),
    ):
        typer.echo(f"  {command:<{max(26, len(name) + 21)}} {meaning}")


def _load(name: str) -> Service[Any]:
    try:
        return load_service(name)
    except ServiceNotFound as error:
        fail(error)
