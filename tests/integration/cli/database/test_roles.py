"""What each service's role may do in Postgres, tried on a real server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from parley.cli.database.migrations import upgrade
from parley.cli.database.roles import ensure_roles, role_of
from parley.cli.failure import CommandFailure
from tests.support.postgres import run_sql, with_database

PASSWORDS = {"auth": "one password", "chat": "another"}


def as_role(url: str, role: str) -> str:
    """The same database for another role; the tests' server asks nobody for a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


async def may(url: str, role: str, *statements: str) -> dict[str, bool]:
    """Which statements a role may run."""
    connection = await asyncpg.connect(as_role(url, role))
    allowed: dict[str, bool] = {}
    try:
        for statement in statements:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                allowed[statement] = False
            else:
                allowed[statement] = True
            finally:
                await transaction.rollback()
    finally:
        await connection.close()
    return allowed


OF_AUTH = ("SELECT * FROM auth.signing_keys", "SELECT * FROM auth.users", "DELETE FROM auth.bans")
OF_CHAT = ("SELECT * FROM chat.events", "UPDATE chat.rooms SET head = head", "DELETE FROM chat.members")
OF_NOBODY = (
    "CREATE TABLE public.mine (n int)",
    "CREATE TABLE auth.mine (n int)",
    "CREATE TABLE chat.mine (n int)",
    "DROP TABLE chat.events",
    "DROP TABLE auth.users",
    "TRUNCATE chat.events",
    "CREATE ROLE mine",
    "ALTER ROLE parley_auth SUPERUSER",
    "DELETE FROM public.parley_migrations",
    "SELECT * FROM pg_authid",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/passwd')",
)


async def test_each_service_has_its_own_schema_and_nothing_of_the_others(database_url: str):
    await ensure_roles(database_url, PASSWORDS)
    everything = (*OF_AUTH, *OF_CHAT, *OF_NOBODY, "SELECT * FROM public.parley_migrations")
    for service, own in (("auth", OF_AUTH), ("chat", OF_CHAT)):
        allowed = await may(database_url, role_of(service), *everything)
        expected = {*own, "SELECT * FROM public.parley_migrations"}
        assert {statement for statement, right in allowed.items() if right} == expected


async def test_the_rights_reach_what_later_migrations_make_and_doing_it_again_changes_nothing(database_url: str):
    for _ in range(2):
        await ensure_roles(database_url, PASSWORDS)
    await run_sql(database_url, "CREATE TABLE chat.later (n bigint GENERATED ALWAYS AS IDENTITY)")
    statements = ("SELECT * FROM chat.later", "INSERT INTO chat.later DEFAULT VALUES")
    assert all((await may(database_url, "parley_chat", *statements)).values())
    assert not any((await may(database_url, "parley_auth", *statements)).values())


async def test_chat_vacuums_its_tables_as_erasure_asks(database_url: str):
    await ensure_roles(database_url, PASSWORDS)
    warned: list[str] = []
    connection = await asyncpg.connect(as_role(database_url, "parley_chat"))
    connection.add_log_listener(lambda _connection, message: warned.append(str(message)))
    await connection.execute("VACUUM chat.events")
    await connection.close()
    assert not warned


async def test_an_owner_that_is_no_superuser_migrates_and_makes_the_roles(postgres_url: str):
    await run_sql(
        postgres_url,
        "DROP ROLE IF EXISTS parley_auth",
        "DROP ROLE IF EXISTS parley_chat",
        "CREATE ROLE migrating LOGIN CREATEROLE",
        "CREATE DATABASE owned OWNER migrating",
    )
    try:
        url = as_role(with_database(postgres_url, "owned"), "migrating")
        await asyncio.to_thread(upgrade, url)
        await ensure_roles(url, PASSWORDS)
        assert all((await may(url, "parley_auth", *OF_AUTH)).values())
        assert not any((await may(url, "parley_auth", *OF_CHAT)).values())
    finally:
        await run_sql(
            postgres_url,
            "DROP DATABASE owned WITH (FORCE)",
            "DROP ROLE parley_auth",
            "DROP ROLE parley_chat",
            "DROP ROLE migrating",
        )


async def test_who_may_make_no_roles_is_told_so_in_a_line(postgres_url: str, database_url: str):
    await run_sql(postgres_url, "DROP ROLE IF EXISTS nobody", "CREATE ROLE nobody LOGIN")
    with pytest.raises(CommandFailure, match="must name a role that owns the database"):
        await ensure_roles(as_role(database_url, "nobody"), PASSWORDS)


async def test_a_role_that_is_a_superuser_is_not_taken(postgres_url: str, database_url: str):
    await ensure_roles(database_url, PASSWORDS)
    await run_sql(postgres_url, "ALTER ROLE parley_chat SUPERUSER")
    try:
        with pytest.raises(CommandFailure, match="superuser"):
            await ensure_roles(database_url, PASSWORDS)
    finally:
        await run_sql(postgres_url, "ALTER ROLE parley_chat NOSUPERUSER")


async def test_what_is_stored_of_a_password_fits_it_and_does_not_hold_it(database_url: str):
    """As a server checks it that asks for SCRAM (RFC 5803)."""
    await ensure_roles(database_url, PASSWORDS)
    connection = await asyncpg.connect(database_url)
    stored = await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'parley_auth'")
    await connection.close()
    assert "one password" not in stored
    _, iterations_and_salt, keys = stored.split("$")
    iterations, salt = iterations_and_salt.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", b"one password", base64.b64decode(salt), int(iterations))
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    assert keys == f"{base64.b64encode(client).decode()}:{base64.b64encode(server).decode()}"
