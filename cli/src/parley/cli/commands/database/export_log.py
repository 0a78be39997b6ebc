"""`parley export`: write the log to a file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from parley.chat.log.export import Interrupted, export
from parley.cli.database.log_connection import log_connection
from parley.cli.failure import CommandFailure
from parley.cli.options import DatabaseUrl


def export_log(
    file: Annotated[Path, typer.Argument(help="The file to write; one that is there is replaced when this is done.")],
    database_url: DatabaseUrl,
) -> None:
    """Write the log to a file of JSON lines, which `parley import` reads. Keep it as you keep a backup."""
    # Written beside the file, which is replaced as a whole; only this user may read a log with its secret.
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
            # Before the rename, or a crash of the machine might leave an empty file under the final name.
            os.fsync(output.fileno())
        partial.rename(file)
        return events

    try:
        events = asyncio.run(run())
    except Interrupted as error:
        raise CommandFailure(str(error)) from error
    except OSError as error:
        raise CommandFailure(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    typer.echo(f"Exported {events} events.")
