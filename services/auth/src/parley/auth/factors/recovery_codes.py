"""Recovery codes: shown once, each good once in place of any other factor, stored as hashes."""

from __future__ import annotations

import secrets

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.login_tables import recovery_codes
from parley.auth.tokens.secret_hash import secret_hash

NUMBER = 10
# Without what is taken for something else when it is copied from paper.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP = 4, 6
MAX_CODE = 64


async def make(connection: AsyncConnection, user_id: str) -> list[str]:
    """New codes of a user, in place of all before. Each has 118 random bits, so that nobody guesses it."""
    codes = [_new_code() for _ in range(NUMBER)]
    await remove(connection, user_id)
    rows = [{"hash": _hash(user_id, code), "user_id": user_id} for code in codes]
    await connection.execute(insert(recovery_codes), rows)
    return codes


async def take(connection: AsyncConnection, user_id: str, code: str) -> bool:
    """Use a code. Whether it was good."""
    mine = (recovery_codes.c.hash == _hash(user_id, code)) & recovery_codes.c.used_at.is_(None)
    # One statement decides: of two who show the same code at once one finds it used.
    used = update(recovery_codes).where(mine).values(used_at=func.clock_timestamp())
    return await connection.scalar(used.returning(recovery_codes.c.user_id)) is not None


async def left(connection: AsyncConnection, user_id: str) -> int:
    """Return how many codes are good yet."""
    mine = (recovery_codes.c.user_id == user_id) & recovery_codes.c.used_at.is_(None)
    return (await connection.scalar(select(func.count()).select_from(recovery_codes).where(mine))) or 0


async def remove(connection: AsyncConnection, user_id: str) -> None:
    """Forget a user's codes, those that were used as well."""
    await connection.execute(delete(recovery_codes).where(recovery_codes.c.user_id == user_id))


def _new_code() -> str:
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))


def _hash(user_id: str, code: str) -> bytes:
    # People copy them from paper: with spaces, without dashes, in capitals. With the user, so that equal codes differ.
    plain = "".join(code.lower().split()).replace("-", "")
    return secret_hash(f"{user_id} {plain}")
