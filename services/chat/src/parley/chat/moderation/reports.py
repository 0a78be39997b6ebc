"""Reports: a member says that a message is not right, and moderators decide about it.

A report keeps a copy of the message and of a few around it, as they were when it was made, so that an edit or a
deletion takes no evidence away; an erasure does. It names the files of the message, which are kept for it
(`attachments/cleanup.py`). Who reported is shown to administrators alone. Nothing of it is an
event of the room, or whoever was reported would read it there.

| state    | begins when                                     | what it means                      |
|----------|-------------------------------------------------|------------------------------------|
| open     | it was made                                     | it is in the queue of moderators   |
| resolved | a moderator or an administrator has resolved it | it says by whom, when and how      |
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from parley.chat.domain.attaching import Attachment
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.encoding.room_ids import event_id, public_room_id
from parley.chat.domain.erasure import Erasure, ErasureScope
from parley.chat.domain.events import Instant
from parley.chat.domain.fields import CommandId, RoomId
from parley.chat.domain.messages import MessageSent
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import GATE, open_erasures
from parley.chat.log.event_store import recorded_row
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.moderation.room_lists import require_moderator
from parley.chat.queries.current import EDIT, PRESENT_BODY
from parley.chat.queries.visibility import VISIBLE, key_of, no_such_room
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.common.wire.rights import Right
from parley.common.wire.text import checked_text

MAX_OPEN = 50
"""Reports of one user that may be open."""
MAX_PAGE = 50
AROUND = 3
"""Messages before the reported one, and after it, of which the beginning is kept."""
NEARBY = 20
"""Events before and after, among which these are looked for."""
BEGINNING = 300
"""Characters that are kept of a message around."""

Category = Literal["spam", "harassment", "hate", "violence", "sexual", "self_harm", "illegal", "other"]

_MESSAGE = f"""
SELECT found.room_id AS room, e.* FROM (
  SELECT r.room_id FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE} LIMIT 1
) found LEFT JOIN LATERAL (
  SELECT {EVENT_COLUMNS}, {PRESENT_BODY} AS present FROM chat.events e {EDIT}
  WHERE e.room_id = found.room_id AND e.sequence BETWEEN $3::bigint - {NEARBY} AND $3::bigint + {NEARBY}
    AND e.type = {MessageSent.NUMBER}
  ORDER BY e.sequence
) e ON true
"""
# Locked until the report is there: files that are about to be removed with their message wait for it.
_FILES = """
SELECT upload_id, name, type, size, width, height, thumbnail > 0 FROM chat.uploads
WHERE room_id = $1 AND sequence = $2 AND state = 'attached' ORDER BY upload_id FOR SHARE
"""
_COLUMNS = """room_id, report, message, author, reporter, category, comment, copy::text, created_at, state, resolved_by,
resolved_at, resolution, note"""
# Counting and inserting of one user are in turn, so that many at once do not pass the limit together.
_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('report' || $1, 0))"
_INSERT = f"""
INSERT INTO chat.reports (room_id, report, message, message_at, author, authors, reporter, category, comment, copy)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE (
  SELECT count(*) FROM (
    SELECT FROM chat.reports WHERE reporter = $7 AND state = 'open' LIMIT {MAX_OPEN}
  ) own
) < {MAX_OPEN}
"""
_SAME = "SELECT message, category, comment FROM chat.reports WHERE room_id = $1 AND report = $2"
_PAGE = f"""
SELECT {_COLUMNS} FROM chat.reports
WHERE ($1::bigint IS NULL OR room_id = $1) AND state = $2 AND ($3::text IS NULL OR author <> $3)
  AND (created_at, report) > ($4::timestamptz, $5::uuid)
ORDER BY created_at, report LIMIT $6
"""
_PLACE = "SELECT created_at, report FROM chat.reports WHERE report = $1 AND ($2::bigint IS NULL OR room_id = $2)"
_RESOLVE = f"""
UPDATE chat.reports
SET state = 'resolved', resolved_by = $4, resolved_at = clock_timestamp(), resolution = $5, note = $6
WHERE room_id = $1 AND report = $2 AND state = 'open' AND ($3::text IS NULL OR author <> $3) RETURNING {_COLUMNS}
"""
_ONE = f"""
SELECT {_COLUMNS} FROM chat.reports WHERE room_id = $1 AND report = $2 AND ($3::text IS NULL OR author <> $3)
"""
_FIRST = (datetime.fromisoformat("2000-01-01T00:00:00+00:00"), UUID(int=0))


class ReportMessage(msgspec.Struct, frozen=True):
    """`message.report`: say that a message, by its sequence, is not right. The same `id` again is the same report."""

    id: CommandId
    room: RoomId
    message: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    category: Category
    comment: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class Reported(msgspec.Struct, frozen=True):
    """That a report was made, and its id."""

    report: UUID


class ListReports(msgspec.Struct, frozen=True):
    """`reports`: a page of a room's reports, the oldest first, for who may moderate it; administrators need no room."""

    room: RoomId | None = None
    state: Literal["open", "resolved"] = "open"
    after: UUID | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 20


class CopiedMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message as it was when it, or one nearby, was reported. If it is `cut`, it has only the beginning.

    `attachments` are the files of the reported one; `report.files` says where they are.
    """

    sequence: int
    event_id: UUID
    at: Instant
    actor: dict[str, str]
    body: str
    cut: bool = False
    attachments: tuple[Attachment, ...] = ()


class ReportView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A report. `copy` has the reported message and some around it, without what was erased since."""

    report: UUID
    room: str
    message: int
    category: str
    comment: str
    at: Instant
    state: str
    copy: list[CopiedMessage]
    reporter: str | None = None
    resolved_by: str | None = None
    resolved_at: Instant | None = None
    resolution: str | None = None
    note: str | None = None


class ReportPage(msgspec.Struct, frozen=True):
    """A page of reports; `more` means that the last one's id as `after` gives the next page."""

    reports: list[ReportView]
    more: bool


class ResolveReport(msgspec.Struct, frozen=True):
    """`report.resolve`: take a report out of the queue, and say what became of it."""

    room: RoomId
    report: UUID
    resolution: Literal["acted", "dismissed"]
    note: Annotated[str, msgspec.Meta(max_length=1000)] = ""


async def report(pool: Pool, identity: Identity, said: ReportMessage) -> Reported:
    """Keep a report with a copy of the message. Raises `Reject`."""
    checked_text(said.comment)
    room = key_of(said.room)
    key = event_id(room, identity.user_id, said.id)
    async with pool.acquire() as connection, connection.transaction(isolation="read_committed"):
        await connection.execute(_TURN, identity.user_id)
        # So that whoever is about to be erased is known here, or their erasure finds this report.
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", GATE)
        # And read here, or an erasure that is over by now would leave what it took out of the log in the copy.
        rows = await connection.fetch(_MESSAGE, identity.user_id, room, said.message)
        message, around = _reported(rows, identity, said)
        if any(one.covers(message) or one.user_id == identity.user_id for one in await open_erasures(connection)):
            raise Reject(Code.FORBIDDEN, "What this user wrote is being erased.")
        # Behind the checks: who resends a report of what is being erased meanwhile is told so.
        earlier = await connection.fetchrow(_SAME, room, key)
        if earlier is not None:
            if tuple(earlier.values()) != (said.message, said.category, said.comment):
                raise Reject(Code.ID_CONFLICT)
            return Reported(key)
        files = await _files(connection, message)
        present = {row["sequence"]: row["present"] for row in rows}
        copy = [_copy(one, present[one.sequence], files if one is message else None) for one in around]
        inserted = await connection.execute(
            _INSERT, room, key, message.sequence, message.recorded_at, message.actor_id,
            sorted({one.actor_id for one in around}), identity.user_id, said.category, said.comment,
            msgspec.json.encode(copy).decode(),
        )  # fmt: skip
        if inserted != "INSERT 0 1":
            raise Reject(Code.LIMIT_EXCEEDED, f"At most {MAX_OPEN} of your reports may be open.")
    return Reported(key)


async def page(pool: Pool, identity: Identity, asked: ListReports) -> ReportPage:
    """Return reports to who may see them: not to who is reported, unless they are administrators. Raises `Reject`."""
    administers = identity.may(Right.MODERATE)
    if asked.room is None and not administers:
        raise Reject(Code.FORBIDDEN, "Only administrators see the reports of all rooms.")
    if asked.room is not None:
        await require_moderator(pool, identity, asked.room)
    room = None if asked.room is None else key_of(asked.room)
    place = _FIRST if asked.after is None else await pool.fetchrow(_PLACE, asked.after, room)
    if place is None:
        raise Reject(Code.NOT_FOUND, "There is no such report.")
    without = None if administers else identity.user_id
    async with pool.acquire() as connection:
        # Erasures are read last, so that none that was requested before the answer is missed.
        rows = await connection.fetch(_PAGE, room, asked.state, without, *place, asked.limit + 1)
        erasing = await open_erasures(connection)
    found = [_view(row, erasing, administers=administers) for row in rows[: asked.limit]]
    return ReportPage(found, len(rows) > asked.limit)


async def resolve(pool: Pool, identity: Identity, said: ResolveReport) -> ReportView:
    """Resolve a report, once: of two who do, the first one's answer stays, and both are told it. Raises `Reject`."""
    checked_text(said.note)
    await require_moderator(pool, identity, said.room)
    administers = identity.may(Right.MODERATE)
    of = (key_of(said.room), said.report, None if administers else identity.user_id)
    async with pool.acquire() as connection:
        row = await connection.fetchrow(_RESOLVE, *of, identity.user_id, said.resolution, said.note)
        # Nothing was changed: it is resolved already, and whoever asks is shown by whom.
        row = row or await connection.fetchrow(_ONE, *of)
        if row is None:
            raise Reject(Code.NOT_FOUND, "There is no such report.")
        return _view(row, await open_erasures(connection), administers=administers)


def _reported(rows: list[Any], identity: Identity, said: ReportMessage) -> tuple[Recorded, list[Recorded]]:
    """Return the message that is reported, and it with those around it. Raises `Reject`."""
    if not rows:
        raise no_such_room()
    found = [one for row in rows if row["sequence"] is not None and not (one := recorded_row(row)).erased]
    message = next((one for one in found if one.sequence == said.message), None)
    if message is None:
        raise Reject(Code.NOT_FOUND, "There is no such message.")
    if message.actor_id == identity.user_id:
        raise Reject(Code.INVALID_PAYLOAD, "A report is about what others wrote.")
    place = found.index(message)
    return message, found[max(0, place - AROUND) : place + AROUND + 1]


async def _files(connection: Any, message: Recorded) -> tuple[Attachment, ...]:
    """Return the files of a message, in its order, that are still there."""
    event = message.event()
    if not isinstance(event, MessageSent) or not event.attachments:
        return ()
    there = {row[0]: Attachment(*row) for row in await connection.fetch(_FILES, message.room_id, message.sequence)}
    return tuple(there[one.id] for one in event.attachments if one.id in there)


def _copy(message: Recorded, present: str | None, files: tuple[Attachment, ...] | None) -> CopiedMessage:
    """Copy a message with its `present` text: not what it said before an edit, which is not what was reported.

    Of one that is not the reported message, only the beginning is copied; `files` is None.
    """
    body = present or ""
    kept = body[:BEGINNING] if files is None else body
    actor = {"id": message.actor_id, "name": message.actor_name}
    cut = len(kept) < len(body)
    return CopiedMessage(message.sequence, message.event_id, message.recorded_at, actor, kept, cut, files or ())


def _view(row: Any, erasing: list[Erasure], *, administers: bool) -> ReportView:
    users = {one.user_id for one in erasing if one.scope is ErasureScope.USER}
    shown = copy_shown(row, erasing)
    by_erased, noted_by_erased = row["reporter"] in users, row["resolved_by"] in users
    return ReportView(
        row["report"], public_room_id(row["room_id"]), row["message"], row["category"],
        "" if by_erased else row["comment"], row["created_at"], row["state"], shown,
        row["reporter"] if administers and not by_erased else None, None if noted_by_erased else row["resolved_by"],
        row["resolved_at"], row["resolution"], None if noted_by_erased else row["note"],
    )  # fmt: skip


def copy_shown(row: Any, erasing: list[Erasure]) -> list[CopiedMessage]:
    """Return what is in a report's copy, without what is being erased."""
    copy = msgspec.json.decode(row["copy"], type=list[CopiedMessage])
    return [one for one in copy if not any(_covers(erasure, row["room_id"], one) for erasure in erasing)]


def _covers(erasure: Erasure, room_id: int, copied: CopiedMessage) -> bool:
    """Return whether an erasure that is open covers the message that was copied."""
    match erasure.scope:
        case ErasureScope.USER:
            return copied.actor["id"] == erasure.user_id
        case ErasureScope.MESSAGE:
            return copied.event_id == erasure.event_id
        case ErasureScope.ROOM:
            return room_id == erasure.room_id
        case ErasureScope.AGE:
            return erasure.before is not None and copied.at < erasure.before
