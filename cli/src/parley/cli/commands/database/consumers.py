"""`parley consumers`: list the consumers of the log, and move one that cannot go on."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from parley.cli.database import consumer_rows
from parley.cli.options import DatabaseUrl

app = typer.Typer(name="consumers", help="Who follows the log, and how far they are.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The consumer.")]


@app.command("list")
def show(database_url: DatabaseUrl) -> None:
    """Show every consumer: what it wants, how many events it is behind, and what it fails over."""
    for consumer in asyncio.run(consumer_rows.list_consumers(database_url)):
        typer.echo(consumer)


@app.command()
def pause(database_url: DatabaseUrl, name: Name) -> None:
    """Hand nothing over to a consumer until it is resumed."""
    asyncio.run(consumer_rows.set_paused(database_url, name, paused=True))
    typer.echo(f"{name} is paused.")


@app.command()
def resume(database_url: DatabaseUrl, name: Name) -> None:
    """Go on handing over to a consumer."""
    asyncio.run(consumer_rows.set_paused(database_url, name, paused=False))
    typer.echo(f"{name} goes on.")


@app.command()
def skip(
    database_url: DatabaseUrl,
    name: Name,
    event: Annotated[str, typer.Argument(help="Its event_id; without it, the one that it fails over.")] = "",
) -> None:
    """Leave out an event that a consumer cannot deal with."""
    typer.echo(f"{name} is not handed {asyncio.run(consumer_rows.skip_event(database_url, name, event))}.")


@app.command()
def reset(
    database_url: DatabaseUrl,
    name: Name,
    *,
    end: Annotated[bool, typer.Option("--end", help="To the end of the log instead of its beginning.")] = False,
) -> None:
    """Move a consumer to the beginning of the log: it gets every event again, under the same ids."""
    asyncio.run(consumer_rows.move(database_url, name, end=end))
    typer.echo(f"{name} goes on at the {'end' if end else 'beginning'} of the log.")


@app.command()
def remove(database_url: DatabaseUrl, name: Name) -> None:
    """Forget a consumer that no service has any more."""
    asyncio.run(consumer_rows.forget(database_url, name))
    typer.echo(f"{name} is forgotten.")
