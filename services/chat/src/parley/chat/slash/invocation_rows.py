"""What users asked of bots, and what became of it: rows that are kept for a day.

    | state    | what happens                                  | next                                             |
    |----------|-----------------------------------------------|--------------------------------------------------|
    | waiting  | asked again under its id: nothing             | answered; expired at `expires_at`, which the bot |
    |          |                                               | may put off once, from 3 s to 15 minutes         |
    | answered | answered again in the same words: nothing     | forgotten after a day                            |
    | expired  | the user is told                              | forgotten after a day                            |

A bot claims an invocation when it begins to answer: by a message, or to the user alone. The first claim stands, so that
it is answered once. One that is claimed does not expire for `CLAIM_SECONDS` more, in which the message is committed.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from parley.chat.domain.state import Member, Restrictions, Room
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import ANY_OPEN, GATE
from parley.chat.log.statements import MEMBER, RESTRICTION
from parley.chat.queries.visibility import EXISTING, no_such_room
from parley.framework import Code, Identity, Reject

ANSWER_SECONDS = 3.0
"""Seconds in which a bot answers, or says that it will."""
DEFER_SECONDS = 900.0
"""Seconds, since it was asked, in which a bot answers that has said so."""
CLAIM_SECONDS = 30.0
MAX_ASKED = 20
"""Invocations of one user that may wait for answers."""
MAX_WAITING = 500
"""Invocations that may wait for one bot."""
KEPT = "1 day"

SHOWN = """user_id, id, invocation, room_id, user_name, bot_id, bot_name, name, options, state, deferred, only_you,
  body, sequence, created_at, expires_at"""
_WAITING = "state = 'waiting' AND expires_at > clock_timestamp()"
_ROOM = f"""
SELECT r.room_id, r.name, r.kind, r.created_by, r.created_at, r.archived, r.rules, clock_timestamp() AS now
FROM chat.rooms r WHERE r.room_id = $1 AND {EXISTING}
"""
_MEMBERS = f"SELECT {MEMBER} FROM chat.members WHERE room_id = $1 AND user_id = ANY($2::text[])"
_RESTRICTION = f"SELECT {RESTRICTION} FROM chat.restrictions WHERE room_id = $1 AND user_id = $2"
_EARLIER = f"SELECT {SHOWN} FROM chat.invocations WHERE user_id = $1 AND id = $2"
# Under the lock of the user who asks, but not of the bot: its bound may be passed by a few, which costs nothing.
_COUNT = f"""
SELECT CASE WHEN {ANY_OPEN} THEN EXISTS (
    SELECT FROM chat.erasures WHERE completed_at IS NULL AND user_id IN ($1, $2)
  ) ELSE false END AS erasing,
  (SELECT count(*) FROM chat.invocations WHERE user_id = $1 AND {_WAITING}) AS asked,
  (SELECT count(*) FROM (
    SELECT FROM chat.invocations
    WHERE bot_id = $2 AND created_at > clock_timestamp() - interval '{DEFER_SECONDS} s' AND {_WAITING}
    LIMIT {MAX_WAITING}
  ) others) AS waiting
"""
_ASK = f"""
INSERT INTO chat.invocations (user_id, id, invocation, room_id, user_name, bot_id, bot_name, name, options, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + interval '{ANSWER_SECONDS} s')
ON CONFLICT (user_id, id) DO NOTHING RETURNING {SHOWN}
"""
_OF_BOT = f"""
SELECT {SHOWN} FROM chat.invocations
WHERE bot_id = $1 AND created_at > clock_timestamp() - interval '{DEFER_SECONDS} s' AND {_WAITING}
ORDER BY created_at, invocation LIMIT $2
"""
_ONE = f"SELECT {SHOWN} FROM chat.invocations WHERE invocation = $1 AND bot_id = $2"
_DEFER = f"""
UPDATE chat.invocations SET deferred = true, expires_at = created_at + interval '{DEFER_SECONDS} s'
WHERE invocation = $1 AND bot_id = $2 AND {_WAITING} RETURNING {SHOWN}
"""
_CLAIM = f"""
UPDATE chat.invocations SET only_you = $3, body = $4
WHERE invocation = $1 AND bot_id = $2 AND (
  ({_WAITING} AND only_you IS NULL) OR (state <> 'expired' AND only_you = $3 AND body = $4)
) RETURNING {SHOWN}
"""
_ANSWERED = f"""
UPDATE chat.invocations SET state = 'answered', sequence = $2 WHERE invocation = $1 RETURNING {SHOWN}
"""
_EXPIRE = f"""
UPDATE chat.invocations SET state = 'expired' WHERE invocation IN (
  SELECT invocation FROM chat.invocations
  WHERE state = 'waiting' AND expires_at <= clock_timestamp()
    AND (only_you IS NULL OR expires_at <= clock_timestamp() - interval '{CLAIM_SECONDS} s')
  ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING {SHOWN}
"""
_FORGET = f"""
DELETE FROM chat.invocations WHERE invocation IN (
  SELECT invocation FROM chat.invocations WHERE created_at < clock_timestamp() - interval '{KEPT}' LIMIT 1000
)
"""


async def room_with(pool: Pool, key: int, user_id: str, others: list[str]) -> tuple[Room, Any]:
    """Return a room as far as it decides whether a user may write there, with others of its members, and the time.

    Raises `Reject(not_found)`.
    """
    async with pool.acquire() as connection:
        row = await connection.fetchrow(_ROOM, key)
        if row is None:
            raise no_such_room()
        members = await connection.fetch(_MEMBERS, key, [user_id, *others])
        own = await connection.fetchrow(_RESTRICTION, key, user_id)
    return _room(row, members, own), row["now"]


def _room(row: Any, members: list[Any], own: Any) -> Room:
    room = Room(row["room_id"], row["name"], row["kind"], row["created_by"], row["created_at"], row["archived"])
    room.rules = row["rules"]
    room.members = {member["user_id"]: Member(*member.values()) for member in members}
    if own is not None:
        room.restrictions = {own["user_id"]: Restrictions(*own.values())}
    return room


async def earlier(pool: Pool, user_id: str, command_id: str) -> Any:
    """Return what a user asked under this id, or None."""
    return await pool.fetchrow(_EARLIER, user_id, command_id)


async def ask(pool: Pool, identity: Identity, bot_id: str, row: tuple[Any, ...]) -> tuple[Any, bool]:
    """Keep what is asked. Returns the row, and whether it is new. Raises `Reject`."""
    user_id, command_id = identity.user_id, row[1]
    async with pool.acquire() as connection, connection.transaction(isolation="read_committed"):
        # So that whoever is about to be erased is known here, or their erasure finds this row.
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", GATE)
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('asks ' || $1::text, 0))", user_id)
        counted = await connection.fetchrow(_COUNT, user_id, bot_id)
        if counted["erasing"]:
            raise Reject(Code.FORBIDDEN, "What this user wrote is being erased.")
        if counted["asked"] >= MAX_ASKED:
            raise Reject(Code.LIMIT_EXCEEDED, f"At most {MAX_ASKED} of your commands may wait for bots.")
        if counted["waiting"] >= MAX_WAITING:
            raise Reject(Code.OVERLOADED, "Too many commands wait for this bot; try again.")
        added = await connection.fetchrow(_ASK, *row)
        return (added, True) if added else (await connection.fetchrow(_EARLIER, user_id, command_id), False)


async def of_bot(pool: Pool, bot_id: str, limit: int) -> list[Any]:
    """Return what waits for a bot, the oldest first."""
    return await pool.fetch(_OF_BOT, bot_id, limit)


async def one(pool: Pool, invocation: UUID, bot_id: str) -> Any:
    """Return what was asked of a bot, or None."""
    return await pool.fetchrow(_ONE, invocation, bot_id)


async def defer(pool: Pool, invocation: UUID, bot_id: str) -> Any:
    """Give a bot more time. Returns None if its time is over."""
    return await pool.fetchrow(_DEFER, invocation, bot_id)


async def claim(pool: Pool, invocation: UUID, bot_id: str, only_you: bool, body: str) -> Any:
    """Begin to answer, in this one way. Returns None if the time is over, or it is answered otherwise."""
    return await pool.fetchrow(_CLAIM, invocation, bot_id, only_you, body)


async def answered(pool: Pool, invocation: UUID, sequence: int | None) -> Any:
    """Note that it is answered, by the message with this sequence if by one. Returns None if it is forgotten."""
    return await pool.fetchrow(_ANSWERED, invocation, sequence)


async def expire(pool: Pool, most: int) -> list[Any]:
    """Take what was not answered in time. Each is returned to one process."""
    return await pool.fetch(_EXPIRE, most)


async def forget_old(pool: Pool) -> None:
    """Forget what was asked long ago."""
    await pool.fetch(_FORGET)
