"""Wrong codes of a user's second step, counted in the database: whoever guesses knows the password already.

| who | wrong codes within a day | beyond |
|---|---|---|
| anybody | 20 of one user, from everywhere together | `rate_limited`: codes of apps are not looked at |
| a device on which the user was let in before | 100 of one user | the same |

Three codes of a million are good: that is one chance in seventeen thousand a day. Where strangers have used theirs up,
the user is let in by a device of theirs, a passkey or a recovery code: those cannot be guessed, and are not counted.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.guessing.attempt_counts import Throttled
from parley.auth.login_tables import code_guesses

STRANGERS = 20
KNOWN = 100
WINDOW = timedelta(days=1)


async def require_left(connection: AsyncConnection, user_id: str, *, known: bool) -> None:
    """Raise `Throttled` where no code may be tried any more. The user's row is locked."""
    mine = select(code_guesses, func.clock_timestamp().label("now")).where(code_guesses.c.user_id == user_id)
    row: Row[tuple[object, ...]] | None = (await connection.execute(mine)).first()
    if row is None:
        return
    left = (row.since + WINDOW - row.now).total_seconds()
    # Two counts, so that strangers who use up theirs leave the user's own devices what these have.
    if left > 0 and (row.known >= KNOWN if known else row.strangers >= STRANGERS):
        raise Throttled(left)


async def count(connection: AsyncConnection, user_id: str, *, known: bool) -> None:
    """Count a wrong code; the first one begins a window. The user's row is locked."""
    now = func.clock_timestamp()
    fresh = {"since": now, "strangers": int(not known), "known": int(known)}
    over = code_guesses.c.since <= now - WINDOW
    ours = update(code_guesses).where(code_guesses.c.user_id == user_id)
    await connection.execute(
        # The row first, then two updates by what it says: an upsert could not tell a new window from one that goes on.
        insert(code_guesses).values(user_id=user_id, strangers=0, known=0).on_conflict_do_nothing()
    )
    if (await connection.execute(ours.where(over).values(**fresh))).rowcount:
        return
    column = code_guesses.c.known if known else code_guesses.c.strangers
    await connection.execute(ours.values({column: column + 1}))


async def forget(connection: AsyncConnection, user_id: str, *, known: bool) -> None:
    """It was the user themself: what this kind of device tried counts no more."""
    column = code_guesses.c.known if known else code_guesses.c.strangers
    await connection.execute(update(code_guesses).where(code_guesses.c.user_id == user_id).values({column: 0}))
