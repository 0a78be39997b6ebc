"""`parley import`: add the events of an export to the log."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn

from parley.chat.domain.encoding.log_lines import MAX_LINE
from parley.chat.log.importing import Imported, Importer, ImportRefused
from parley.cli.database.log_connection import log_connection
from parley.cli.failure import CommandFailure
from parley.cli.options import DatabaseUrl


def import_log(
    file: Annotated[Path, typer.Argument(help="What `parley export` wrote.")],
    database_url: DatabaseUrl,
) -> None:
    """Add the events of an export to the log. What is there already is left as it is, so it may be run again."""

    async def run() -> Imported:
        with file.open("rb") as opened, Progress(TextColumn("{task.description}"), BarColumn()) as progress:
            task = progress.add_task("Importing", total=file.stat().st_size)

            def report(_line: int, added: int) -> None:
                progress.update(task, completed=opened.tell(), description=f"Added {added:,} events")

            async with log_connection(database_url) as connection:
                # No more of a line is read than one may have, however long it is.
                return await Importer(connection, report).run(iter(partial(opened.readline, MAX_LINE), b""))

    try:
        done = asyncio.run(run())
    except ImportRefused as error:
        raise CommandFailure(str(error)) from error
    except OSError as error:
        raise CommandFailure(f"cannot read {file}: {error.strerror or error}") from error
    typer.echo(f"Added {done.added} events; {done.present} were there.")
