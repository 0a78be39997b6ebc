"""Messages that a user has scheduled: kept as the very command that will be sent, under its id.

    | state   | what happens                                    | next                                               |
    |---------|-------------------------------------------------|----------------------------------------------------|
    | waiting | scheduled again under its id: it is replaced    | held, when its time has come                       |
    | held    | one process sends the command                   | gone when it is accepted; failed when it is        |
    |         |                                                 | refused; waiting when it may be accepted later     |
    | failed  | the user is told why, and may schedule it again | gone when it is cancelled, or after `FAILED_DAYS`  |

A process that dies while it holds a message lets go of it after `HELD_SECONDS`. Then the command is sent again with the
same id, and what was committed is not committed twice.

A message remembers the login or the API key by which it was scheduled last, and is sent for that one alone: who ends a
login that somebody stole ends what was scheduled by it. A key that is rotated stays the same, if its secrets overlap.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from parley.chat.domain.events import Instant
from parley.chat.domain.fields import CommandId
from parley.chat.domain.messages import SendMessage
from parley.chat.log.database import Pool, reachable
from parley.chat.queries.visibility import VISIBLE, key_of, no_such_room
from parley.framework import Code, Identity, Reject

MAX_SCHEDULED = 100
"""Messages that one user may have scheduled."""
LONGEST = timedelta(days=366)
"""How far in the future a message may be scheduled."""
HELD_SECONDS = 30.0
AGAIN_SECONDS = 10.0
"""Seconds until a message is sent again that may be accepted later."""
GIVE_UP = timedelta(days=1)
"""How long after its time a message is still sent, because it could not be sent before."""
FAILED_DAYS = 30

_MAY_SEE = f"SELECT true FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE}"
_COUNT = "SELECT count(*) FROM (SELECT FROM chat.scheduled WHERE user_id = $1 AND id <> $2 LIMIT $3) others"
_PUT = """
INSERT INTO chat.scheduled AS known
  (user_id, id, room_id, name, message, due_at, try_at, login, issued_at, kicks, scheduled_at)
VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9, clock_timestamp())
ON CONFLICT (user_id, id) DO UPDATE
SET room_id = excluded.room_id, name = excluded.name, message = excluded.message, due_at = excluded.due_at,
  try_at = excluded.try_at, failure = '', reason = '', login = excluded.login, issued_at = excluded.issued_at,
  kicks = excluded.kicks, scheduled_at = excluded.scheduled_at
WHERE known.held_until IS NULL OR known.held_until < clock_timestamp()
RETURNING true
"""
_LIST = "SELECT id, message, due_at, failure, reason FROM chat.scheduled WHERE user_id = $1 ORDER BY due_at, id"
# Not while a process sends it: whether it is sent by then is not known.
_CANCEL = """
DELETE FROM chat.scheduled WHERE user_id = $1 AND id = $2 AND (held_until IS NULL OR held_until < clock_timestamp())
RETURNING true
"""
_EXISTS = "SELECT true FROM chat.scheduled WHERE user_id = $1 AND id = $2"
# The rows are locked as they are taken, so that no two processes take the same one.
_HOLD = f"""
UPDATE chat.scheduled s SET held_until = clock_timestamp() + interval '{HELD_SECONDS} s',
  try_at = clock_timestamp() + interval '{HELD_SECONDS} s'
FROM (
  SELECT user_id, id FROM chat.scheduled WHERE try_at <= clock_timestamp()
  ORDER BY try_at LIMIT $1 FOR UPDATE SKIP LOCKED
) due WHERE s.user_id = due.user_id AND s.id = due.id
RETURNING s.user_id, s.id, s.name, s.message, s.due_at, s.login, s.kicks,
  extract(epoch FROM clock_timestamp() - s.scheduled_at)::float8 AS age,
  coalesce(s.issued_at, extract(epoch FROM s.scheduled_at)::float8) AS issued_at
"""
_DONE = "DELETE FROM chat.scheduled WHERE user_id = $1 AND id = $2"
_FAILED = """
UPDATE chat.scheduled SET try_at = NULL, held_until = NULL, failure = $3, reason = $4 WHERE user_id = $1 AND id = $2
"""
_AGAIN = f"""
UPDATE chat.scheduled SET try_at = clock_timestamp() + interval '{AGAIN_SECONDS} s', held_until = NULL
WHERE user_id = $1 AND id = $2
"""
_TOO_OLD = f"""
DELETE FROM chat.scheduled WHERE (user_id, id) IN (
  SELECT user_id, id FROM chat.scheduled
  WHERE try_at IS NULL AND due_at < clock_timestamp() - interval '{FAILED_DAYS} days' LIMIT 1000
)
"""


class ScheduleMessage(msgspec.Struct, frozen=True):
    """`message.schedule`: send a message when its time comes. Scheduled again under the same id, it is replaced."""

    at: Instant
    message: SendMessage


class CancelScheduled(msgspec.Struct, frozen=True):
    """`message.unschedule`: do not send a message that was scheduled."""

    id: CommandId


class ListScheduled(msgspec.Struct, frozen=True):
    """`scheduled`: the messages that the user has scheduled, and those that could not be sent."""


class ScheduledMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message that is sent at some time, or that could not be sent: `code` and `reason` say why."""

    id: str
    at: Instant
    message: SendMessage
    code: str = ""
    reason: str = ""


class ScheduledMessages(msgspec.Struct, frozen=True):
    """What a user has scheduled, what is sent first first."""

    scheduled: list[ScheduledMessage]


class ScheduledOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a scheduled message: `sent`, or `failed` with the code of the refusal."""

    id: str
    room: str
    state: str
    code: str = ""
    reason: str = ""


async def schedule(pool: Pool, identity: Identity, said: ScheduleMessage, max_body: int) -> None:
    """Schedule a message for a login, or change one that is scheduled, which is this login's from then on.

    Raises `Reject`; rights are looked at when it is sent.
    """
    said.message.validate(max_body)
    now = datetime.now(UTC)
    if not now < said.at <= now + LONGEST:
        raise Reject(Code.INVALID_PAYLOAD, f"A message is scheduled for the next {LONGEST.days} days.")
    key, user_id, command_id = key_of(said.message.room), identity.user_id, said.message.id
    encoded = msgspec.json.encode(said.message).decode()
    with reachable():
        if not await pool.fetchval(_MAY_SEE, user_id, key):
            raise no_such_room()
        if await pool.fetchval(_COUNT, user_id, command_id, MAX_SCHEDULED) >= MAX_SCHEDULED:
            raise Reject(Code.LIMIT_EXCEEDED, f"At most {MAX_SCHEDULED} messages may be scheduled.")
        if not await pool.fetchval(
            _PUT, user_id, command_id, key, identity.name, encoded, said.at, identity.login,
            identity.issued_at or None, identity.kicks,
        ):  # fmt: skip
            raise being_sent()


async def cancel(pool: Pool, identity: Identity, said: CancelScheduled) -> None:
    """Forget a scheduled message. Raises `Reject(not_found)`, or `already_exists` if it is being sent."""
    with reachable():
        if await pool.fetchval(_CANCEL, identity.user_id, said.id):
            return
        if await pool.fetchval(_EXISTS, identity.user_id, said.id):
            raise being_sent()
    raise Reject(Code.NOT_FOUND, "There is no such scheduled message.")


async def listed(pool: Pool, identity: Identity, _asked: ListScheduled) -> ScheduledMessages:
    """Return what a user has scheduled."""
    with reachable():
        rows = await pool.fetch(_LIST, identity.user_id)
    return ScheduledMessages([_scheduled(row) for row in rows])


async def hold(pool: Pool, most: int) -> list[Any]:
    """Take messages whose time has come, for this process to send."""
    return await pool.fetch(_HOLD, most)


async def done(pool: Pool, user_id: str, command_id: str) -> None:
    """Forget a message that was sent."""
    await pool.fetch(_DONE, user_id, command_id)


async def failed(pool: Pool, user_id: str, command_id: str, code: str, reason: str) -> None:
    """Note that a message cannot be sent, and why."""
    await pool.fetch(_FAILED, user_id, command_id, code, reason[:500])


async def again(pool: Pool, user_id: str, command_id: str) -> None:
    """Let a message be sent again in a moment."""
    await pool.fetch(_AGAIN, user_id, command_id)


async def forget_old(pool: Pool) -> None:
    """Delete some of what failed long ago."""
    await pool.fetch(_TOO_OLD)


def being_sent() -> Reject:
    """Return what is said of a message that is being sent at this moment."""
    return Reject(Code.ALREADY_EXISTS, "This message is being sent.", retryable=True)


def _scheduled(row: Any) -> ScheduledMessage:
    message = msgspec.json.decode(row["message"], type=SendMessage)
    return ScheduledMessage(row["id"], row["due_at"], message, row["failure"], row["reason"])
