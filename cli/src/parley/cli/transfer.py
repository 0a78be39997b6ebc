"""`parley export` and `parley import`: the log as a file of lines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from parley.cli.failure import Failure, fail
from parley.cli.options import DatabaseUrl


def export_log(
    file: Annotated[Path, typer.Argument(help="The file to write; one that is there is replaced when this is done.")],
    database_url: DatabaseUrl,
) -> None:
    """Write the log to a file of JSON lines, which `parley import` reads. Keep it as you keep a backup."""
    from rich.progress import Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    from parley.chat.log.export import Interrupted, export  # noqa: PLC0415
    from parley.cli.database.log_connection import log_connection, wait_for_database  # noqa: PLC0415

    partial = file.with_name(f"{file.name}.partial")

    async def run() -> int:
        partial.unlink(missing_ok=True)
        opened = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            os.fdopen(opened, "wb", 1 << 20) as output,
            Progress(TextColumn("{task.description}"), TimeElapsedColumn()) as progress,
        ):
            task = progress.add_task("Exporting", total=None)
            async with log_connection(database_url) as connection:
                events = await export(
                    connection, output.write, lambda n: progress.update(task, description=f"Exported {n:,} events")
                )
            output.flush()
            os.fsync(output.fileno())
        partial.rename(file)
        return events

    try:
        wait_for_database(database_url, 10)
        events = asyncio.run(run())
    except (Interrupted, Failure) as error:
        fail(Failure(str(error)))
    except OSError as error:
        fail(Failure(f"cannot write {file}: {error.strerror or error}"))
    finally:
        partial.unlink(missing_ok=True)
    typer.echo(f"Exported {events} events.")


def import_log(
    file: Annotated[Path, typer.Argument(help="What `parley export` wrote.")],
    database_url: DatabaseUrl,
) -> None:
    """Add the events of an export to the log. What is there already is left as it is, so it may be run again."""
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    from parley.chat.log.importing import Imported, Importer, Refused  # noqa: PLC0415
    from parley.cli.database.log_connection import log_connection, wait_for_database  # noqa: PLC0415

    async def run() -> Imported:
        with file.open("rb") as opened, Progress(TextColumn("{task.description}"), BarColumn()) as progress:
            task = progress.add_task("Importing", total=file.stat().st_size)

            def report(_line: int, added: int) -> None:
                progress.update(task, completed=opened.tell(), description=f"Added {added:,} events")

            async with log_connection(database_url) as connection:
                return await Importer(connection, report).run(_lines(opened))

    try:
        wait_for_database(database_url, 10)
        done = asyncio.run(run())
    except (Refused, Failure) as error:
        fail(Failure(str(error)))
    except OSError as error:
        fail(Failure(f"cannot read {file}: {error.strerror or error}"))
    typer.echo(f"Added {done.added} events; {done.present} were there.")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    from parley.chat.domain.log_lines import MAX_LINE  # noqa: PLC0415

    # No more of a line is read than one may have, however long it is.
    while line := file.readline(MAX_LINE):
        yield line
