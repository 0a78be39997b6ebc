"""`parley verify`: compare projections with the log."""

from __future__ import annotations

import asyncio

import typer

from parley.cli.database.replays import verify_projections
from parley.cli.failure import CommandFailure
from parley.cli.options import DatabaseUrl, ProjectionName
from parley.cli.progress import progress_of_rooms


def verify(database_url: DatabaseUrl, name: ProjectionName = "") -> None:
    """Replay the event log and compare the projections with it, while everybody works; exit code 1 if they differ."""
    with progress_of_rooms("Verifying") as progress:
        verified = asyncio.run(verify_projections(database_url, name, progress))
    if verified.first is not None:
        raise CommandFailure(f"{verified.wrong} rows are not what the log says; the first: {verified.first}")
    typer.echo(f"{verified.rooms} rooms are what the log says.")
