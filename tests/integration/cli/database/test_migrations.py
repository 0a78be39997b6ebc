"""Migrations: they agree with the tables in code, can be taken back, and may be run by many processes at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from parley.auth.database import create_engine
from parley.cli.database import migrations
from tests.support.waiting import until


@pytest.fixture
async def empty_database(postgres_url: str) -> AsyncIterator[str]:
    """A database without any of our tables."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    await run_sql(postgres_url, f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    await run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def run_sql(url: str, *statements: str) -> list[str]:
    """Run statements outside a transaction and return the first column of the last one's rows."""
    engine = create_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            results = [await connection.execute(text(statement)) for statement in statements]
            return [row[0] for row in results[-1]] if results[-1].returns_rows else []
    finally:
        await engine.dispose()


async def schemas(url: str) -> set[str]:
    return set(await run_sql(url, "SELECT nspname FROM pg_namespace WHERE nspname IN ('auth', 'chat', 'other')"))


async def test_migrations_lead_to_the_tables_in_code_and_can_be_taken_back(empty_database: str) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database)
    await asyncio.to_thread(migrations.check, empty_database)
    assert await schemas(empty_database) == {"auth", "chat"}

    await asyncio.to_thread(migrations.downgrade, empty_database, "base")
    assert await schemas(empty_database) == set()

    await asyncio.to_thread(migrations.upgrade, empty_database)
    await asyncio.to_thread(migrations.check, empty_database)


def test_the_next_migration_has_a_number_of_its_own_behind_all_others() -> None:
    url = "postgresql://nowhere"
    known = [one.revision for one in ScriptDirectory.from_config(migrations.config(url)).walk_revisions()]
    assert int(migrations.next_revision(url)) == int(max(known)) + 1


async def test_migrators_started_together_wait_for_each_other(empty_database: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(run_upgrade_process, empty_database) for _ in range(3)))
    await asyncio.to_thread(migrations.check, empty_database)


async def test_what_else_lives_in_the_database_is_left_alone(empty_database: str) -> None:
    await run_sql(
        empty_database,
        "CREATE SCHEMA other",
        "CREATE TABLE other.things (id int)",
        "CREATE TABLE public.mine (id int)",
    )
    await asyncio.to_thread(migrations.upgrade, empty_database)
    await asyncio.to_thread(migrations.check, empty_database)
    await asyncio.to_thread(migrations.downgrade, empty_database, "base")
    assert await schemas(empty_database) == {"other"}


async def test_each_migration_is_a_transaction_of_its_own(empty_database: str) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database)
    made = "SELECT DISTINCT xmin::text FROM pg_class WHERE relname IN ('users', 'events') AND relkind = 'r'"
    assert len(await run_sql(empty_database, made)) == 2


async def test_a_migration_that_waits_for_a_lock_lets_others_pass_and_tries_again(empty_database: str) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database)
    waits = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    engine = create_engine(empty_database)
    try:
        async with engine.connect() as reader:
            await reader.execute(text("SELECT FROM chat.events"))
            downgrading = asyncio.create_task(asyncio.to_thread(migrations.downgrade, empty_database, "base"))

            async def waiting() -> bool:
                return await run_sql(empty_database, waits) == [1]

            await until(waiting, "the migration waits for the reader")
            async with asyncio.timeout(20):
                # Behind the migration, until that has given up for now.
                assert await run_sql(empty_database, "SELECT count(*) FROM chat.events") == [0]
            assert not downgrading.done()
        async with asyncio.timeout(20):
            await downgrading
    finally:
        await engine.dispose()
    assert await schemas(empty_database) == set()


async def test_rooms_that_were_there_before_are_found_by_their_folded_names(empty_database: str) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database)
    await asyncio.to_thread(migrations.downgrade, empty_database, "0038")
    await run_sql(
        empty_database,
        """INSERT INTO chat.rooms (room_id, head, changed, created_at, name, kind, created_by)
           VALUES (1, 1, 1, now(), 'Οδός Cafe\u0301', 'public', 'u'), (2, 1, 1, now(), 'Ωδή', 'direct', 'u')""",
    )
    await asyncio.to_thread(migrations.upgrade, empty_database)
    for kind, search, index in (
        ("private", "ΟΔΌΣ CAFE", "rooms_name_idx"),
        ("public", "ωδη", "rooms_private_name_idx"),
    ):
        found = f"""SELECT room_id FROM chat.rooms
                    WHERE kind <> '{kind}' AND chat.name_parts(name) @> chat.name_parts('{search}')"""
        by_index = ("SET enable_seqscan = off", "SET enable_indexscan = off")
        assert index in "".join(await run_sql(empty_database, *by_index, f"EXPLAIN {found}"))
        assert len(await run_sql(empty_database, *by_index, found)) == 1


def run_upgrade_process(url: str) -> None:
    """Upgrade in a process of its own, as three replicas would: Alembic's context is global to a process."""
    program = "import sys; from parley.cli.database.migrations import upgrade; upgrade(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60, capture_output=True)


async def test_a_database_of_another_encoding_is_migrated_as_well(empty_database: str, postgres_url: str) -> None:
    name = urlsplit(empty_database).path[1:]
    await run_sql(
        postgres_url,
        f"DROP DATABASE {name}",
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'",
    )
    await asyncio.to_thread(migrations.upgrade, empty_database)
    assert await run_sql(empty_database, "SELECT chat.folded('General')") == ["general"]
