"""`parley rebuild` and `parley verify`: projections made anew from the log, or compared, while everybody works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from parley.cli.failure import Failure, fail
from parley.cli.options import DatabaseUrl

Name = Annotated[str, typer.Argument(help="rooms, members or declined; without it, all.", show_default=False)]


def rebuild(database_url: DatabaseUrl, name: Name = "") -> None:
    """Make projections anew from the event log, room by room, while everybody works; may be stopped and run again."""
    from parley.cli.database.log_connection import rebuild_projections, wait_for_database  # noqa: PLC0415 - `parley run` starts fast

    try:
        wait_for_database(database_url, 10)
        with _progress("Rebuilding") as progress:
            rebuilt = asyncio.run(rebuild_projections(database_url, name, progress))
    except Failure as error:
        fail(error)
    typer.echo(f"Compared {rebuilt.rooms} rooms with the log, and mended {rebuilt.mended} rows.")


def verify(database_url: DatabaseUrl, name: Name = "") -> None:
    """Replay the event log and compare the projections with it, while everybody works; exit code 1 if they differ."""
    from parley.cli.database.log_connection import verify_projections, wait_for_database  # noqa: PLC0415

    try:
        wait_for_database(database_url, 10)
        with _progress("Verifying") as progress:
            verified = asyncio.run(verify_projections(database_url, name, progress))
    except Failure as error:
        fail(error)
    if verified.first is not None:
        fail(Failure(f"{verified.wrong} rows are not what the log says; the first: {verified.first}"))
    typer.echo(f"{verified.rooms} rooms are what the log says.")


@contextmanager
def _progress(what: str) -> Generator[Callable[[int, int], None]]:
    """Show how far it is."""
    from parley.chat.domain.identifiers import share_before  # noqa: PLC0415

    count, left = TextColumn("{task.fields[rooms]} rooms"), TimeRemainingColumn()
    columns = TextColumn("{task.description}"), BarColumn(), count, left
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0, rooms=0)
        yield lambda rooms, room_id: bar.update(task, completed=share_before(room_id), rooms=rooms)
