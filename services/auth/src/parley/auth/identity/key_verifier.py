"""Who the bearer of an API key is: looked up in batches, as users are, so that a revocation counts at once.

Nothing is kept from one request to the next. Every request asks the database about its user anyway.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import Row, text

from parley.auth.database import Database
from parley.auth.tokens import api_key
from parley.auth.tokens.secret_hash import secret_hash
from parley.common.batch_loader import BatchLoader
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

MAX_AT_ONCE = 500
"""Keys one statement is about."""
COARSE_SECONDS = 300.0
"""When a key was last used is written down once in so long."""

_FIND = text(
    """
    SELECT key.id, key.user_id, known.name, key.scopes, key.secret_hash,
           CASE WHEN key.previous_until > clock_timestamp() THEN key.previous_hash END AS previous_hash,
           extract(epoch FROM coalesce(key.secret_since, key.created_at))::float8 AS secret_since,
           extract(epoch FROM coalesce(key.previous_since, key.created_at))::float8 AS previous_since,
           extract(epoch FROM key.previous_until)::float8 AS previous_until,
           extract(epoch FROM key.previous_until - clock_timestamp())::float8 AS previous_left,
           extract(epoch FROM key.expires_at)::float8 AS expires_at,
           extract(epoch FROM key.expires_at - clock_timestamp())::float8 AS seconds_left,
           key.revoked_at IS NOT NULL AS revoked,
           coalesce(extract(epoch FROM clock_timestamp() - key.last_used_at)::float8, 'infinity') AS unused
    FROM auth.api_keys AS key JOIN auth.users AS known ON known.id = key.user_id
    WHERE key.id = ANY (CAST(:ids AS text[]))
    """
)
_USED = text("UPDATE auth.api_keys SET last_used_at = clock_timestamp() WHERE id = ANY (CAST(:ids AS text[]))")


class VerifiedKey(NamedTuple):
    """Who a key says its bearer is, and for how many seconds it is good; 0 for one without an end."""

    identity: Identity
    valid_for: float


class KeyVerifier:
    """Checks API keys against the database, those that come at once in one statement. Nothing is remembered of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys = BatchLoader[str, Row[Any]](self._look_up, MAX_AT_ONCE)
        self._used = BatchLoader[str, bool](self._note_use, MAX_AT_ONCE)

    async def close(self) -> None:
        """Stop asking the database."""
        await self._keys.close()
        await self._used.close()

    async def verify(self, token: str) -> VerifiedKey:
        """Who presents this key. Their identity is as old as the secret that they show, and no longer good than it.

        Raises `Reject` with `invalid_token`, `revoked_token`, `expired_token` or `unavailable`.
        """
        key = api_key.parse(token)
        row = await self._keys.load(key.id) if key is not None else None
        secret = _shown(row, secret_hash(key.secret)) if key is not None and row is not None else None
        if key is None or row is None or secret is None:
            raise Reject(Code.INVALID_TOKEN, "The API key is not valid.")
        # Only whoever has shown the secret is told what became of the key.
        if row.revoked:
            raise Reject(Code.REVOKED_TOKEN, "The API key was revoked.")
        if row.seconds_left is not None and row.seconds_left <= 0:
            raise Reject(Code.EXPIRED_TOKEN, "The API key has expired.")
        if row.unused > COARSE_SECONDS:
            # For people to look at: nobody is refused because it cannot be written.
            with suppress(Reject):
                await self._used.load(key.id)
        identity = Identity(
            row.user_id, row.name, (), secret.since, secret.expires_at, login=key.id, scopes=tuple(row.scopes)
        )
        return VerifiedKey(identity, secret.seconds_left)

    async def _look_up(self, ids: list[str]) -> Mapping[str, Row[Any]]:
        async with self._database.autocommit() as connection:
            return {row.id: row for row in await connection.execute(_FIND, {"ids": ids})}

    async def _note_use(self, ids: list[str]) -> Mapping[str, bool]:
        async with self._database.autocommit() as connection:
            await connection.execute(_USED, {"ids": ids})
        return {}


class _ShownSecret(NamedTuple):
    """The secret of a key that was shown: since when there is it, and how long it is good; 0 for without an end."""

    since: float
    expires_at: float
    seconds_left: float


def _shown(row: Row[Any], presented: bytes) -> _ShownSecret | None:
    """Return which secret of a key this is; None for neither."""
    # Both are compared whatever the first says, so that the time tells nothing.
    previous = row.previous_hash is not None and hmac.compare_digest(row.previous_hash, presented)
    if hmac.compare_digest(row.secret_hash, presented):
        return _ShownSecret(row.secret_since, row.expires_at or 0.0, row.seconds_left or 0.0)
    if not previous:
        return None
    # After a rotation the secret before is good for a while, and what it opens ends by itself when that is over. The
    # number may be below nothing by what the statement took, and 0 would mean for ever.
    left = max(0.001, min(row.previous_left, row.seconds_left or row.previous_left))
    return _ShownSecret(row.previous_since, min(row.previous_until, row.expires_at or row.previous_until), left)
