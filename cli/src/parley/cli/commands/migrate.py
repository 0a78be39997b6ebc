"""`parley migrate`: bring a database up to this version's schema."""

from __future__ import annotations

from typing import Annotated

import typer

from parley.cli.database.log_connection import wait_for_database
from parley.cli.database.migrations import upgrade
from parley.cli.options import DatabaseUrl


def migrate(
    database_url: DatabaseUrl,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the database to come up.")] = 60.0,
) -> None:
    """Bring the database up to this version's schema; safe to run from several places at once."""
    wait_for_database(database_url, wait)
    upgrade(database_url)
    typer.echo("The database is up to date.")
