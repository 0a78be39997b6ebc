"""Authenticator apps of users: a secret that was shown once, and is in use since a code of it was."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.database import Database
from parley.auth.factors import totp_codes
from parley.auth.factors.sealed_secrets import SealedSecret, SecretSeal, UnknownKey
from parley.auth.login_tables import totp
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger

log = get_logger(__name__)

RESEALED = 500


class AuthenticatorApps:
    """Keeps the secrets. Users' rows are locked by whoever calls, so that of two uses of a code one is the first."""

    def __init__(self, seal: SecretSeal, now: Callable[[], float]) -> None:
        self._seal = seal
        self._now = now

    async def begin(self, connection: AsyncConnection, user_id: str) -> str:
        """Return a new secret, in place of one that is not in use yet. Raises `Reject(already_exists)` where one is."""
        secret = totp_codes.new_secret()
        data, key = self._seal.seal(secret.encode(), user_id)
        fresh = {"sealed": data, "key": key, "created_at": func.clock_timestamp(), "last_step": 0}
        new = insert(totp).values(user_id=user_id, **fresh)
        # One that was begun and never confirmed may be replaced; one that is in use may not, without a proof.
        begun = new.on_conflict_do_update(
            index_elements=["user_id"], set_=fresh, where=totp.c.confirmed_at.is_(None)
        ).returning(totp.c.user_id)
        if await connection.scalar(begun) is None:
            raise Reject(Code.ALREADY_EXISTS, "An authenticator app is in use already; switch it off first.")
        return secret

    async def confirm(self, connection: AsyncConnection, user_id: str, code: str) -> bool:
        """Return whether a code is of the secret that was begun; from then on it is in use.

        Raises `Reject(not_found)`.
        """
        if not await self._take(connection, user_id, code, in_use=False):
            return False
        await connection.execute(
            update(totp).where(totp.c.user_id == user_id).values(confirmed_at=func.clock_timestamp())
        )
        return True

    async def take(self, connection: AsyncConnection, user_id: str, code: str) -> bool:
        """Return whether a code is good; if so, neither it nor one of before is any more.

        Raises `Reject(not_found)`.
        """
        return await self._take(connection, user_id, code, in_use=True)

    async def remove(self, connection: AsyncConnection, user_id: str) -> bool:
        """Forget the secret. Whether one was in use."""
        gone = delete(totp).where(totp.c.user_id == user_id).returning(totp.c.confirmed_at)
        return await connection.scalar(gone) is not None

    async def reseal(self, database: Database) -> None:
        """Put every secret under the newest key, so that the others may be taken away. Raises `Reject`."""
        # In pages, by the user's id: one whose key is gone stays behind and must not be met again and again.
        others = select(totp).where(totp.c.key != self._seal.current).order_by(totp.c.user_id).limit(RESEALED)
        last = ""
        while True:
            async with database.transaction() as connection:
                rows = (await connection.execute(others.where(totp.c.user_id > last).with_for_update())).all()
                for row in rows:
                    try:
                        secret = self._seal.open(SealedSecret(row.sealed, row.key), row.user_id)
                    except UnknownKey:
                        log.error("the key of a second factor was taken away", user=row.user_id)
                        continue
                    data, key = self._seal.seal(secret, row.user_id)
                    mine = update(totp).where(totp.c.user_id == row.user_id)
                    await connection.execute(mine.values(sealed=data, key=key))
            if len(rows) < RESEALED:
                return
            last = rows[-1].user_id

    async def _take(self, connection: AsyncConnection, user_id: str, code: str, *, in_use: bool) -> bool:
        mine = totp.c.user_id == user_id
        row = (await connection.execute(select(totp).where(mine).with_for_update())).first()
        if row is None or (row.confirmed_at is not None) != in_use:
            raise Reject(Code.NOT_FOUND, "There is no authenticator app to take codes of.")
        try:
            secret = self._seal.open(SealedSecret(row.sealed, row.key), user_id).decode()
        except UnknownKey as error:
            log.error("the key of a second factor was taken away", user=user_id)
            message = "Codes cannot be checked now; use a recovery code or ask an administrator."
            raise Reject(Code.UNAVAILABLE, message, retryable=False) from error
        step = totp_codes.step_of(secret, code, self._now(), row.last_step)
        if step is None:
            return False
        # No code of this step or of one before counts again: whoever looked over a shoulder has nothing.
        await connection.execute(update(totp).where(mine).values(last_step=step))
        return True
