"""What is kept of one user besides the log (`log/user_tables.py`), for them to have: some hundred rows at a time."""

from __future__ import annotations

from typing import Any

import msgspec

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.log.database import Pool
from parley.common.errors import Code, Reject
from parley.common.wire.admin import UserEvents

CURSOR = "kept"
"""How the cursors begin that go on in these tables, after the log."""
ROWS = 300

TABLES = {
    "read": "SELECT room_id, sequence, read_at, marked_at FROM chat.reads WHERE user_id = $1 ORDER BY room_id",
    "mention": "SELECT room_id, sequence, at FROM chat.mentions WHERE user_id = $1 ORDER BY room_id, sequence",
    "level": "SELECT room_id, level FROM chat.levels WHERE user_id = $1 ORDER BY room_id",
    "preferences": "SELECT private_receipts, silenced FROM chat.preferences WHERE user_id = $1",
    "notification": """SELECT sequence, cause, type, room_id, event_sequence, at, read_at FROM chat.notifications
                       WHERE user_id = $1 ORDER BY sequence""",
    "push_subscription": """SELECT endpoint, created_at FROM chat.push_subscriptions
                            WHERE user_id = $1 ORDER BY created_at, endpoint_hash""",
    "draft": """SELECT room_id, thread, body, reply_to, updated_at FROM chat.drafts
                WHERE user_id = $1 ORDER BY room_id, thread""",
    "scheduled": "SELECT id, message, due_at, failure FROM chat.scheduled WHERE user_id = $1 ORDER BY id",
    "thread_read": """SELECT room_id, thread, sequence, read_at FROM chat.thread_reads
                      WHERE user_id = $1 ORDER BY room_id, thread""",
    "bot_command": "SELECT command FROM chat.bot_commands WHERE user_id = $1 ORDER BY room_id, name",
    "invocation": """SELECT id, room_id, bot_id, name, options, body, created_at FROM chat.invocations
                     WHERE user_id = $1 ORDER BY id""",
}
"""What a row is called in an export, and the statement that reads all of a user's. All of it is chat's own state."""
KINDS = tuple(TABLES)
_MOST_BYTES = 256 * 1024
_PAGE = f"""
SELECT * FROM (
  SELECT *, row_number() OVER () AS place, sum(octet_length(one::text)) OVER (ROWS UNBOUNDED PRECEDING) AS size
  FROM ({{rows}} OFFSET $2 LIMIT {ROWS}) one
) counted WHERE size < {_MOST_BYTES} OR place = 1 ORDER BY place
"""


async def page(pool: Pool, user_id: str, cursor: str) -> UserEvents:
    """Return rows of a user's after a cursor. Raises `Reject` for what is no cursor."""
    _, _, place = cursor.partition(":")
    table, _, offset = place.partition(":")
    if not (table.isdecimal() and offset.isdecimal() and int(table) < len(KINDS) and len(offset) < 10):
        raise Reject(Code.INVALID_PAYLOAD, "This is no cursor.")
    kind = KINDS[int(table)]
    found = await pool.fetch(_PAGE.format(rows=TABLES[kind]), user_id, int(offset))
    rows = [msgspec.json.encode({"type": kind, kind: _shown(row)}) for row in found]
    if rows:
        return UserEvents([], f"{CURSOR}:{table}:{int(offset) + len(rows)}", rows)
    following = int(table) + 1
    return UserEvents([], f"{CURSOR}:{following}:0" if following < len(KINDS) else "")


def _shown(row: Any) -> dict[str, Any]:
    fields = {name: value for name, value in row.items() if name not in {"place", "size"}}
    if "room_id" in fields:
        fields["room"] = public_room_id(fields.pop("room_id"))
    return fields
