"""`parley rebuild`: make projections anew from the log."""

from __future__ import annotations

import asyncio

import typer

from parley.cli.database.replays import rebuild_projections
from parley.cli.options import DatabaseUrl, ProjectionName
from parley.cli.progress import progress_of_rooms


def rebuild(database_url: DatabaseUrl, name: ProjectionName = "") -> None:
    """Make projections anew from the event log, room by room, while everybody works; may be stopped and run again."""
    with progress_of_rooms("Rebuilding") as progress:
        rebuilt = asyncio.run(rebuild_projections(database_url, name, progress))
    typer.echo(f"Compared {rebuilt.rooms} rooms with the log, and mended {rebuilt.corrected} rows.")
