"""`parley migration`: write the next migration of Parley itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from parley.cli.database.migrations import differs, revise, upgrade
from parley.cli.failure import CommandFailure


def migration(name: Annotated[str, typer.Argument(help='What it does, as in "add topics".')]) -> None:
    """Write a new migration from the tables."""
    from parley.cli.stack import embedded  # noqa: PLC0415 - only developers have the embedded parts

    if not name.strip():
        raise CommandFailure('say what the migration does, as in: make migration NAME="add topics"')
    with tempfile.TemporaryDirectory() as directory, embedded.postgres(Path(directory) / "data") as url:
        upgrade(url)
        if not differs(url):
            raise CommandFailure("the tables in code are what the migrations make; there is nothing to write")
        written = revise(url, name.strip())
    typer.echo(f"Wrote {written}; read it before you commit it.")
