"""The roles that services use Postgres as: each its own schema's data, and nothing of anybody else's.

Who migrates owns the schemas and grants; that is a superuser, or a role that may create roles and owns the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, cast

import asyncpg

from parley.cli.failure import CommandFailure

SERVICES = ("auth", "chat")
"""Services with a database: each has a schema of its name."""
LOCK = 0x726F6C6573
"""Key of the advisory lock that lets one process at a time make roles: the letters of the word."""
ITERATIONS = 4096
"""Of PBKDF2 in a stored password, as Postgres itself makes it by default."""
MAINTAIN_SINCE = 17
"""The Postgres since which there is a privilege to vacuum and analyze a table of somebody else's."""


def role_of(service: str) -> str:
    """The role that a service uses Postgres as."""
    return f"parley_{service}"


async def ensure_roles(url: str, passwords: Mapping[str, str]) -> None:
    """Make the services' roles, or give those that are there these passwords and the rights that they need now.

    An empty password leaves a role without one, for servers that admit it by other means. Roles that have not been
    asked for by name are left alone. Doing it again is harmless, and services in the middle of their work notice
    nothing. Raises `CommandFailure`.
    """
    connection = cast("Any", await asyncpg.connect(url, timeout=5))
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            # Before Postgres 15 everybody might put functions there, which others' statements would then find
            # (CVE-2018-1058).
            await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            for service, password in passwords.items():
                await _ensure_role(connection, role_of(service), password)
                await _grant(connection, service, role_of(service))
    except asyncpg.InsufficientPrivilegeError as error:
        raise CommandFailure(
            f"the roles of services cannot be made: {error}; PARLEY_DATABASE_URL must name a role that owns the "
            "database and may create roles"
        ) from error
    finally:
        await connection.close()


async def _ensure_role(connection: Any, role: str, password: str) -> None:
    # None for a role that is not there yet.
    known = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = $1", role)
    if known:
        raise CommandFailure(f"the role {role} is a superuser; a service must not be one")
    if known is None:
        await connection.execute(f"CREATE ROLE {role} LOGIN")
    if password:
        # What is stored, and not the password itself, so that it is in no log of statements.
        await connection.execute(f"ALTER ROLE {role} LOGIN PASSWORD '{_stored(password)}'")


async def _grant(connection: Any, schema: str, role: str) -> None:
    """Let a role work with what is in a schema, and with what later migrations put there; not change what it is."""
    tables = "SELECT, INSERT, UPDATE, DELETE"
    if connection.get_server_version().major >= MAINTAIN_SINCE:
        tables += ", MAINTAIN"
    for statement in (
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"GRANT {tables} ON ALL TABLES IN SCHEMA {schema} TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {tables} ON TABLES TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {role}",
        # Which schema there is, is what services look at before they say that they are ready.
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT ON public.parley_migrations TO {role}",
    ):
        await connection.execute(statement)


def _stored(password: str) -> str:
    """What Postgres keeps of a password (SCRAM-SHA-256, RFC 5803). Raises `CommandFailure` unless it is ASCII."""
    if not password.isascii():
        raise CommandFailure("the password of a database role is of ASCII characters")
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    told = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{told[0]}${told[1]}:{told[2]}"
