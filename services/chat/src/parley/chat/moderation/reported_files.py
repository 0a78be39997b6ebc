"""Files of reported messages, for who may see the report: also when the message was deleted, and its files are kept."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import msgspec

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.fields import RoomId
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import open_erasures
from parley.chat.moderation.reports import copy_shown
from parley.chat.moderation.room_lists import require_moderator
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

# What was kept long enough may still be there until it is removed.
_REPORT = """
SELECT room_id, message, copy::text, (
  state = 'open' OR resolved_at > clock_timestamp() - make_interval(secs => $4)
) AS keeps FROM chat.reports WHERE room_id = $1 AND report = $2 AND ($3::text IS NULL OR author <> $3)
"""


class AskReportFiles(msgspec.Struct, frozen=True):
    """`report.files`: addresses of the files of a reported message, for who may see the report."""

    room: RoomId
    report: UUID


async def seen(
    pool: Pool, kept_seconds: float, user_id: str, room: int, report: UUID, administers: bool
) -> Collection[UUID]:
    """Return the files that a user sees by a report now, as a moderator of the room or as an administrator.

    A report shows files for so many seconds after it was resolved, and none of what is being erased. Raises `Reject`.
    """
    if not administers:
        await require_moderator(pool, Identity(user_id, ""), public_room_id(room))
    async with pool.acquire() as connection:
        row = await connection.fetchrow(_REPORT, room, report, None if administers else user_id, kept_seconds)
        # Read last, so that no erasure that was requested before the answer is missed.
        erasing = await open_erasures(connection)
    if row is None:
        raise Reject(Code.NOT_FOUND, "There is no such report.")
    copied = copy_shown(row, erasing) if row["keeps"] else []
    return {file.id for one in copied if one.sequence == row["message"] for file in one.attachments}
