"""`parley migrate`: bring a database up to this version's schema."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from parley.cli.database.log_connection import wait_for_database
from parley.cli.database.migrations import upgrade
from parley.cli.database.roles import SERVICES, ensure_roles
from parley.cli.failure import CommandFailure
from parley.cli.options import DatabaseUrl, secret_of
from parley.common.process.settings import unsafe_database


def migrate(
    database_url: DatabaseUrl,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the database to come up.")] = 60.0,
) -> None:
    """Bring the database up to this version's schema; safe to run from several places at once.

    Where PARLEY_AUTH_DATABASE_PASSWORD and PARLEY_CHAT_DATABASE_PASSWORD are set, or their _FILE, it also makes the
    roles parley_auth and parley_chat with these passwords, each with the rights on its own schema alone.
    """
    given = {service: secret_of(f"PARLEY_{service.upper()}_DATABASE_PASSWORD") for service in SERVICES}
    passwords = {service: password for service, password in given.items() if password}
    if os.environ.get("PARLEY_ENVIRONMENT") == "production" and (unsafe := unsafe_database(database_url)):
        raise CommandFailure("; ".join(["refusing to migrate in production", *unsafe]))
    wait_for_database(database_url, wait)
    upgrade(database_url)
    # After the migrations, which make the schemas that rights are given on.
    if passwords:
        asyncio.run(ensure_roles(database_url, passwords))
    typer.echo("The database is up to date.")
