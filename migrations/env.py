"""Runs migrations: schemas `auth` and `chat`, a transaction for each, one migrator at a time.

A migration waits for the lock of a table only for a moment and then tries again, since everybody else waits behind it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.exc import DBAPIError

from parley.auth import login_tables
from parley.auth.database import create_engine
from parley.chat.log import tables as chat_tables
from parley.chat.log import user_tables

# Read back from a database when the tables in code are compared with it.
cast("dict[str, Any]", ischema_names)["xid8"] = chat_tables.Xid8

SCHEMAS = {"auth", "chat"}
LOCK = 0x7061726C6579
"""Key of the advisory lock that lets one migrator in at a time: the letters of the product's name."""
LOCK_TIMEOUT = "500ms"
ATTEMPTS = 120
PAUSE_SECONDS = 0.5
LOCK_NOT_AVAILABLE = "55P03"


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Leave whatever else lives in the database alone."""
    return name in SCHEMAS if kind == "schema" else True


def migrate(connection: Connection) -> None:
    """Run on a connection; a second migrator waits and then finds nothing left to do."""
    # The session holds it across the transactions, and lets go of it with its end.
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.commit()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            run_migrations(connection)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or attempt == ATTEMPTS:
                raise
            connection.rollback()
            time.sleep(PAUSE_SECONDS)
        else:
            return


def run_migrations(connection: Connection) -> None:
    """Run what is left to do; what was done stays done if a later migration fails."""
    context.configure(
        connection=connection,
        target_metadata=[login_tables.metadata, user_tables.metadata],
        include_schemas=True,
        include_name=include_name,
        version_table="parley_migrations",
        version_table_schema="public",
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run() -> None:
    """Connect and migrate."""
    engine = create_engine(context.config.attributes["database_url"], seconds=None)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


asyncio.run(run())
