"""A stack for the tests of a module."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from parley.cli.stack import embedded
from tests.support.postgres import run_sql, with_database
from tests.support.stack.stack import Stack


@asynccontextmanager
async def running_stack(
    postgres_url: str, template_database: str, directory: Path, **settings: str
) -> AsyncGenerator[Stack]:
    """A stack with a database of its own, for as long as the tests of a module or all take."""
    name = f"stack_{uuid.uuid4().hex[:8]}"
    await run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    # A NATS of its own: services of another test on the same one would answer each other's requests.
    with embedded.nats(directory / "nats") as nats_url:
        running = Stack(with_database(postgres_url, name), nats_url, directory, **settings)
        await running.start()
        yield running
        await running.stop()
