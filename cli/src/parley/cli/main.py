"""The `parley` command."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from parley.cli import projection_commands, service_commands, transfer
from parley.cli.commands import consumers as consumer_commands
from parley.cli.commands import erase
from parley.cli.failure import Failure, fail
from parley.cli.options import DatabaseUrl

app = typer.Typer(
    name="parley",
    help="Parley: a self-hosted realtime messaging backend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"parley {version('parley-cli')}")
        raise typer.Exit


@app.callback()
def parley(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Parley: a self-hosted realtime messaging backend."""


@app.command()
def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    data: Annotated[Path, typer.Option(help="Directory that keeps all state.")] = Path(".parley"),
) -> None:
    """Start everything on one port: Postgres, NATS and all services. Ctrl-C stops it.

    In the directory of a project, its own services run as well, each of which restarts when its code changes.
    """
    try:
        from parley.cli.stack.embedded import EmbeddedError  # noqa: PLC0415 - the container image lacks the embedded parts
        from parley.cli.stack.stack import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("parley"):
            raise
        fail(Failure(f"this installation lacks the embedded parts ({error.name}); install parley-cli[embedded]"))
    try:
        run(host, port, data)
    except (Failure, EmbeddedError) as error:
        fail(error)


@app.command()
def migrate(
    database_url: DatabaseUrl,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the database to come up.")] = 60.0,
) -> None:
    """Bring the database up to this version's schema; safe to run from several places at once."""
    from parley.cli.database.log_connection import wait_for_database  # noqa: PLC0415 - `parley run` is to start fast
    from parley.cli.database.migrations import upgrade  # noqa: PLC0415

    try:
        wait_for_database(database_url, wait)
        upgrade(database_url)
    except Failure as error:
        fail(error)
    typer.echo("The database is up to date.")


@app.command()
def restored(
    database_url: DatabaseUrl,
    ledger: Annotated[
        Path | None,
        typer.Option(
            envvar="PARLEY_CHAT_ERASURE_LEDGER",
            help="The erasures since the backup, which are executed again.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say that the database was restored from a backup: what clients remember may be of a log that is no more.

    What had been erased since the backup is erased again.
    """
    from parley.cli.database.log_connection import begin_incarnation, erase_what_is_open, wait_for_database  # noqa: PLC0415

    try:
        wait_for_database(database_url, 10)
        incarnation, missing = asyncio.run(begin_incarnation(database_url, ledger))
        typer.echo(f"The log is {incarnation} from here on.")
        if ledger is None:
            typer.echo("No ledger was given: what was erased since the backup is to be read again.", err=True)
        if missing:
            with Console(stderr=True).status(f"Executing {missing} erasures again…"):
                asyncio.run(erase_what_is_open(database_url))
            typer.echo(f"Executed {missing} erasures again.")
    except Failure as error:
        fail(error)


@app.command()
def migration(name: Annotated[str, typer.Argument(help='What it does, as in "add topics".')]) -> None:
    """Write a new migration from the tables."""
    from parley.cli.database.migrations import revise  # noqa: PLC0415

    if not name.strip():
        fail(Failure('say what the migration does, as in: make migration NAME="add topics"'))
    typer.echo(f"Wrote {revise(name.strip())}; read it before you commit it.")


app.command()(projection_commands.rebuild)
app.command()(projection_commands.verify)
app.add_typer(erase.commands)
app.command("export")(transfer.export_log)
app.command("import")(transfer.import_log)
app.command()(service_commands.run)
app.command("routes")(service_commands.show_routes)
app.command()(service_commands.asyncapi)
app.add_typer(consumer_commands.app)
app.add_typer(service_commands.new)
