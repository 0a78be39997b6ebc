"""`parley consumers`: list those who follow the log, and move one that cannot go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, TypeVar

import typer

from parley.cli.failure import CommandFailure
from parley.cli.options import DatabaseUrl

app = typer.Typer(name="consumers", help="Who follows the log, and how far they are.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The consumer.")]
ResultT = TypeVar("ResultT")


@app.command("list")
def show(database_url: DatabaseUrl) -> None:
    """Show every consumer: what it wants, how many events it is behind, and what it fails over."""
    from parley.cli.database.consumer_rows import list_consumers  # noqa: PLC0415 - `parley run` starts fast

    for consumer in _run(list_consumers(database_url)):
        typer.echo(consumer)


@app.command()
def pause(database_url: DatabaseUrl, name: Name) -> None:
    """Hand nothing over to a consumer until it is resumed."""
    from parley.cli.database.consumer_rows import set_paused  # noqa: PLC0415

    _run(set_paused(database_url, name, paused=True))
    typer.echo(f"{name} is paused.")


@app.command()
def resume(database_url: DatabaseUrl, name: Name) -> None:
    """Go on handing over to a consumer."""
    from parley.cli.database.consumer_rows import set_paused  # noqa: PLC0415

    _run(set_paused(database_url, name, paused=False))
    typer.echo(f"{name} goes on.")


@app.command()
def skip(
    database_url: DatabaseUrl,
    name: Name,
    event: Annotated[str, typer.Argument(help="Its event_id; without it, the one that it fails over.")] = "",
) -> None:
    """Leave out an event that a consumer cannot deal with."""
    from parley.cli.database.consumer_rows import skip_event  # noqa: PLC0415

    typer.echo(f"{name} is not handed {_run(skip_event(database_url, name, event))}.")


@app.command()
def reset(
    database_url: DatabaseUrl,
    name: Name,
    *,
    end: Annotated[bool, typer.Option("--end", help="To the end of the log instead of its beginning.")] = False,
) -> None:
    """Move a consumer to the beginning of the log: it gets every event again, under the same ids."""
    from parley.cli.database.consumer_rows import move  # noqa: PLC0415

    _run(move(database_url, name, end=end))
    typer.echo(f"{name} goes on at the {'end' if end else 'beginning'} of the log.")


@app.command()
def remove(database_url: DatabaseUrl, name: Name) -> None:
    """Forget a consumer that no service has any more."""
    from parley.cli.database.consumer_rows import forget  # noqa: PLC0415

    _run(forget(database_url, name))
    typer.echo(f"{name} is forgotten.")


def _run(work: Awaitable[ResultT]) -> ResultT:
    async def run() -> ResultT:
        return await work

    try:
        return asyncio.run(run())
    except OSError as error:
        raise CommandFailure(str(error)) from error
