"""`parley import`: add the events of an export to the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from parley.cli.failure import CommandFailure
from parley.cli.options import DatabaseUrl


def import_log(
    file: Annotated[Path, typer.Argument(help="What `parley export` wrote.")],
    database_url: DatabaseUrl,
) -> None:
    """Add the events of an export to the log. What is there already is left as it is, so it may be run again."""
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    from parley.chat.log.importing import Imported, Importer, ImportRefused  # noqa: PLC0415
    from parley.cli.database.log_connection import log_connection, wait_for_database  # noqa: PLC0415

    async def run() -> Imported:
        with file.open("rb") as opened, Progress(TextColumn("{task.description}"), BarColumn()) as progress:
            task = progress.add_task("Importing", total=file.stat().st_size)

            def report(_line: int, added: int) -> None:
                progress.update(task, completed=opened.tell(), description=f"Added {added:,} events")

            async with log_connection(database_url) as connection:
                return await Importer(connection, report).run(_lines(opened))

    wait_for_database(database_url, 10)
    try:
        done = asyncio.run(run())
    except ImportRefused as error:
        raise CommandFailure(str(error)) from error
    except OSError as error:
        raise CommandFailure(f"cannot read {file}: {error.strerror or error}") from error
    typer.echo(f"Added {done.added} events; {done.present} were there.")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    from parley.chat.domain.encoding.log_lines import MAX_LINE  # noqa: PLC0415

    # No more of a line is read than one may have, however long it is.
    while line := file.readline(MAX_LINE):
        yield line
