"""`parley restored`: give the log of a restored database another incarnation, and erase again what had been erased."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from parley.cli.database.incarnation import begin_incarnation, erase_what_is_open
from parley.cli.options import DatabaseUrl


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
    """Say that the database was restored from a backup, so that clients do not take the log for the one they remember.

    What had been erased since the backup is erased again.
    """
    incarnation, missing = asyncio.run(begin_incarnation(database_url, ledger))
    typer.echo(f"The log is {incarnation} from here on.")
    if ledger is None:
        typer.echo("No ledger was given: what was erased since the backup can be read again.", err=True)
    if missing:
        with Console(stderr=True).status(f"Executing {missing} erasures again…"):
            asyncio.run(erase_what_is_open(database_url))
        typer.echo(f"Executed {missing} erasures again.")
