"""Accounts and logins of before outlast the migrations, under whatever collation the database has."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from parley.auth.tokens.secret_hash import secret_hash
from parley.cli.database import migrations
from tests.support.auth.service import PASSWORD, bearer, code, running_auth
from tests.support.postgres import run_sql, with_database

_BEFORE = """
INSERT INTO auth.users (id, username, name, password_hash, kind) VALUES
  ('u_1', 'Ann.Mill', 'Ann', $1, 'local'), ('u_2', 'ben', 'Ben', $1, 'local'),
  ('bob@example.com', NULL, 'Bob', NULL, 'external')
"""
_TOKENS = """
INSERT INTO auth.refresh_tokens (hash, family, user_id, expires_at, used_at, revoked_at) VALUES
  ($1, $4, 'u_1', now() + interval '1 day', NULL, NULL), ($2, $4, 'u_1', now() + interval '1 day', now(), NULL),
  ($3, $5, 'u_2', now() + interval '1 day', NULL, now())
"""


async def test_accounts_and_logins_of_before_go_on(database_url: str, nats_url: str) -> None:
    await asyncio.to_thread(migrations.downgrade, database_url, "0009")
    connection = await asyncpg.connect(database_url)
    await connection.execute(_BEFORE, PasswordHasher.from_parameters(CHEAPEST).hash(PASSWORD))
    hashes = [secret_hash(token) for token in ("live", "spent", "revoked")]
    await connection.execute(_TOKENS, *hashes, uuid.uuid4().hex, uuid.uuid4().hex)
    await connection.close()
    await asyncio.to_thread(migrations.upgrade, database_url)
    async with running_auth(database_url, nats_url) as auth:
        granted = (await auth.post("/auth/refresh", {"refresh_token": "live"})).json()
        sessions = (await auth.get("/auth/sessions", granted["access_token"])).json()["sessions"]
        assert [session["current"] for session in sessions] == [True]
        for token in ("spent", "revoked"):
            assert code(await auth.post("/auth/refresh", {"refresh_token": token})) == "invalid_token"
        assert (await auth.login("ANN.MILL")).status_code == 200
        taken = await auth.post("/auth/register", {"username": "Ann.Mi1l", "password": PASSWORD})
        assert code(taken) == "already_exists"
        assert (await auth.client.delete("/auth/sessions", headers=bearer(granted["access_token"]))).json() == {
            "ended": 1
        }


async def test_usernames_that_differ_in_case_alone_stop_the_migration_by_name(database_url: str) -> None:
    await asyncio.to_thread(migrations.downgrade, database_url, "0010")
    connection = await asyncpg.connect(database_url)
    # A Turkish database takes them for two.
    await connection.execute("DROP INDEX auth.users_username_key")
    for user, username in (("u_1", "ADMIN"), ("u_2", "admin")):
        insert = "INSERT INTO auth.users (id, username, name, kind) VALUES ($1, $2, $2, 'local')"
        await connection.execute(insert, user, username)
    await connection.close()
    with pytest.raises(Exception, match="differ in case alone: ADMIN, admin"):
        await asyncio.to_thread(migrations.upgrade, database_url)


@pytest.fixture
async def turkish_database(postgres_url: str) -> AsyncIterator[str]:
    """A migrated database that takes `I` for the capital of a dotless `i`."""
    name = f"turkish_{uuid.uuid4().hex[:12]}"
    try:
        await run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'")
    except asyncpg.PostgresError as error:
        pytest.skip(f"this Postgres has no Turkish: {error}")
    url = with_database(postgres_url, name)
    await asyncio.to_thread(migrations.upgrade, url)
    yield url
    await run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_usernames_are_the_same_in_every_case_under_a_turkish_collation(
    turkish_database: str, nats_url: str
) -> None:
    connection = await asyncpg.connect(turkish_database)
    assert await connection.fetchval("SELECT lower('I') <> 'i'")
    await connection.close()
    async with running_auth(turkish_database, nats_url) as auth:
        assert (await auth.login("ADMIN", "the administrator's own")).status_code == 200
        await auth.register("KIRIL")
        assert (await auth.login("kiril")).status_code == 200
        taken = await auth.post("/auth/register", {"username": "kiril", "password": PASSWORD})
        assert code(taken) == "already_exists"
