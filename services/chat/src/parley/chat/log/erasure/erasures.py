"""Erasures in Postgres: requesting one, and hiding what it covers. `domain/erasure.py` says what their states mean.

Statements that read hide whatever an open erasure covers, in the very snapshot they read in, so nothing that another
process remembers can bring it back.

A request is ordered with everything that is being decided. A transaction that decides under rooms' locks holds `GATE`
shared until its commit, and looks for erasures after taking it; a request holds it alone for a moment. So whatever was
committed without knowing of an erasure was committed before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar, get_args
from uuid import UUID

import asyncpg

from parley.chat.domain.encoding.compact import pack_user
from parley.chat.domain.encoding.event_codec import CODEC
from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.erasure import ABOUT_USERS, NEVER_COVERED, TEXT_TYPES, Erasure, ErasureScope
from parley.chat.domain.room import ChatEvent
from parley.common.errors import Code, Reject
from parley.common.wire.identifiers import uuid7

GATE = 0x7061726C6579 << 8 | 1
"""The advisory lock that orders requests with the transactions that decide."""
GATE_SECONDS = 0.03
"""Seconds that a request waits for the gate at a time: transactions that want it shared queue up behind a waiting
request."""
# So a request gives up after about twelve seconds, waiting half of the time.
GATE_ATTEMPTS = 200


def numbers_of(types: Iterable[str]) -> str:
    """Return the numbers of types of events, as SQL for a list of them."""
    return ", ".join(str(CODEC.stored_as(name)[0]) for name in sorted(types))


_ABOUT_USERS = numbers_of(ABOUT_USERS)
_TEXTS = numbers_of(TEXT_TYPES)
MESSAGES = ", ".join(str(kind.NUMBER) for kind in get_args(ChatEvent) if kind.IS_MESSAGE)
"""Numbers of the types of events that are messages, as SQL."""
EDITS = ", ".join(
    str(kind.NUMBER) for kind in get_args(ChatEvent) if kind.WHEN_ERASED.message_text and not kind.IS_MESSAGE
)
"""Numbers of the types of events that have another text of an earlier message, as SQL; it is named in `message`."""

COVERS = f"""(
  e.actor_id = x.actor_id
  OR (e.type IN ({_ABOUT_USERS}) AND e.data -> 'user' ->> 'id' = x.user_id)
  OR (x.scope = 'message' AND e.room_id = x.room_id AND (
    e.event_id = x.event_id OR (e.type IN ({EDITS}) AND (e.data ->> 'message')::bigint = x.sequence)
  ))
  OR (x.scope = 'room' AND e.room_id = x.room_id AND e.type NOT IN ({numbers_of(NEVER_COVERED)}))
  OR (e.recorded_at < x.before AND e.type IN ({_TEXTS}))
)"""
"""Whether the erasure `x` covers the event `e`. It says the same as `Erasure.covers`, and covers the edits of a message
with it."""

# Nearly always no erasure is open. The planner makes an InitPlan of this, so it is looked up once per statement.
ANY_OPEN = "(SELECT EXISTS (SELECT FROM chat.erasures WHERE completed_at IS NULL))"
HIDDEN = f"""CASE WHEN {ANY_OPEN} THEN
  EXISTS (SELECT FROM chat.erasures x WHERE x.completed_at IS NULL AND {COVERS})
ELSE false END"""
"""Whether the event `e` is read as erased."""


def unless_erasing(user: str) -> str:
    """Return SQL for a user's id that is '' while everything of that user is being erased."""
    # The column is given another name, so that an unqualified one in `user` is that of the statement around this.
    return f"""CASE WHEN {ANY_OPEN} AND EXISTS (
    SELECT FROM (SELECT user_id AS erased_user FROM chat.erasures WHERE completed_at IS NULL) x
    WHERE x.erased_user = {user}
  ) THEN '' ELSE {user} END"""


def room_is_erased(room: str) -> str:
    """Return SQL for whether a room is being erased."""
    return f"""CASE WHEN {ANY_OPEN} THEN EXISTS (
    SELECT FROM chat.erasures x WHERE x.completed_at IS NULL AND x.scope = 'room' AND x.room_id = {room}
  ) ELSE false END"""


ResultT = TypeVar("ResultT")

_COLUMNS = """id, scope, user_id, room_id, event_id, before, requested_at, noted, repeated, started_at, completed_at,
at_room, at_sequence, events"""
_OPEN = f"SELECT {_COLUMNS} FROM chat.erasures WHERE completed_at IS NULL ORDER BY requested_at, id"
_ONE = f"SELECT {_COLUMNS} FROM chat.erasures WHERE id = $1"
_OF_USER = f"SELECT {_COLUMNS} FROM chat.erasures WHERE user_id = $1 ORDER BY requested_at DESC LIMIT 1"
_ASKED_FOR = f"SELECT {_COLUMNS} FROM chat.erasures WHERE scope <> 'age' ORDER BY requested_at, id"
_SAME = f"""{_OPEN.partition("ORDER")[0]} AND scope = $1 AND user_id IS NOT DISTINCT FROM $2
AND room_id IS NOT DISTINCT FROM $3 AND event_id IS NOT DISTINCT FROM $4"""
_REQUEST = f"""
INSERT INTO chat.erasures
  (id, scope, user_id, actor_id, room_id, event_id, before, requested_at, noted, repeated, sequence)
VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce($8, clock_timestamp()), $9, $10,
  (SELECT sequence FROM chat.events WHERE room_id = $5 AND event_id = $6)) ON CONFLICT DO NOTHING
RETURNING {_COLUMNS}
"""
_MESSAGE = f"""
SELECT event_id FROM chat.events WHERE room_id = $1 AND sequence = $2 AND type IN ({MESSAGES})
"""


async def open_erasures(connection: Any) -> list[Erasure]:
    """Return the erasures that are not completed, the oldest first."""
    return [_erasure(row) for row in await connection.fetch(_OPEN)]


async def asked_for(connection: Any) -> list[Erasure]:
    """Return all erasures that were ever requested, the oldest first, without those by age, which nobody requests."""
    return [_erasure(row) for row in await connection.fetch(_ASKED_FOR)]


async def find(connection: Any, erasure_id: UUID) -> Erasure | None:
    """Return an erasure by its id."""
    row = await connection.fetchrow(_ONE, erasure_id)
    return None if row is None else _erasure(row)


async def last_of_user(connection: Any, user_id: str) -> Erasure | None:
    """Return the latest erasure of everything that a user wrote."""
    row = await connection.fetchrow(_OF_USER, user_id)
    return None if row is None else _erasure(row)


async def note(connection: Any, erasures: list[Erasure]) -> None:
    """Remember that the ledger has these erasures."""
    await connection.execute(
        "UPDATE chat.erasures SET noted = true WHERE id = ANY($1::uuid[])", [one.id for one in erasures]
    )


async def request_user(connection: Any, user_id: str) -> Erasure:
    """Request that everything a user wrote be erased. Returns the open one if there is one. Raises `Reject`."""
    return await request(connection, ErasureScope.USER, user_id=user_id)


async def request_message(connection: Any, room: str, sequence: int) -> Erasure:
    """Request that one message be erased. Raises `Reject(not_found)` if there is none with this sequence."""
    key = room_key(room)
    event_id = None if key is None else await connection.fetchval(_MESSAGE, key, sequence)
    if event_id is None:
        raise Reject(Code.NOT_FOUND, "There is no such message.")
    return await request(connection, ErasureScope.MESSAGE, room_id=key, event_id=event_id)


async def request_room(connection: Any, room: str) -> Erasure:
    """Request that a room be erased, with everything that anybody wrote there. Raises `Reject(not_found)`."""
    key = room_key(room)
    if key is None or not await connection.fetchval("SELECT true FROM chat.rooms WHERE room_id = $1", key):
        raise Reject(Code.NOT_FOUND, "There is no such room.")
    return await request(connection, ErasureScope.ROOM, room_id=key)


async def request(
    connection: Any,
    scope: ErasureScope,
    *,
    user_id: str | None = None,
    room_id: int | None = None,
    event_id: UUID | None = None,
    before: datetime | None = None,
) -> Erasure:
    """Request an erasure. When this returns, nobody can read what it covers. Raises `Reject(unavailable)`."""

    async def insert() -> Erasure:
        row = await connection.fetchrow(_SAME, scope, user_id, room_id, event_id) if before is None else None
        actor = None if user_id is None else pack_user(user_id)
        # The ledger has no erasures by age: after a restore, the messages are too old again.
        noted = scope is ErasureScope.AGE
        if row is None:
            of = (user_id, actor, room_id, event_id, before)
            row = await connection.fetchrow(_REQUEST, uuid7(), scope, *of, None, noted, False)
        return _erasure(row)

    return await _alone(connection, insert)


async def repeat(connection: Any, erasures: list[Erasure]) -> int:
    """Request again what a ledger has and this log does not have, as after a restore. Returns how many these are.

    An erasure that this log has already stays as it is.
    """

    async def insert() -> int:
        count = 0
        for one in erasures:
            actor = None if one.user_id is None else pack_user(one.user_id)
            of = (one.user_id, actor, one.room_id, one.event_id, None)
            count += (
                await connection.fetchrow(_REQUEST, one.id, one.scope, *of, one.requested_at, True, True) is not None
            )
        return count

    return await _alone(connection, insert)


async def _alone(connection: Any, insert: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Insert while nobody decides. Whoever wants to decide waits for an instant at most."""
    for _ in range(GATE_ATTEMPTS):
        try:
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(f"SET LOCAL lock_timeout = {round(GATE_SECONDS * 1000)}")
                await connection.execute("SELECT pg_advisory_xact_lock($1)", GATE)
                return await insert()
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(GATE_SECONDS)
    raise Reject(Code.UNAVAILABLE, "The log is busy; ask again.")


def _erasure(row: Any) -> Erasure:
    identifier, scope, *rest = row.values()
    return Erasure(identifier, ErasureScope(scope), *rest)
