"""The log and its projections in one transaction: load under the rooms' locks, append, project.

Statements are set-based (`unnest`), so a batch of one and a batch of hundreds make the same few round trips. Each row
is looked up by key in a subquery of its own (`LATERAL`) that the planner cannot turn into a join of whole tables,
whatever it believes of their sizes.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from parley.chat.domain.batch import BatchDecision, Loaded, Remembered, Submission
from parley.chat.domain.draft import Drafts
from parley.chat.domain.encoding.compact import pack, pack_user, unpack
from parley.chat.domain.encoding.event_codec import CODEC, ERASED, StoredEvent
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.erasure import hidden
from parley.chat.domain.projectors import ROOM_COLUMNS, declined_row, member_row, room_row
from parley.chat.domain.rooms import CloseRoom
from parley.chat.domain.state import Member, Room
from parley.chat.log.erasure.erasures import ANY_OPEN, GATE, HIDDEN, unless_erasing

EVENT_COLUMNS = f"""e.room_id, e.sequence, e.number, e.event_id, e.type, e.version, e.actor_id, e.actor_name,
e.command_id, e.fingerprint, e.data::text, e.recorded_at, {HIDDEN} AS hidden"""
"""What `recorded_row` reads, of an `e` that is `chat.events`."""

_ROOM = ", ".join(ROOM_COLUMNS)
_SHOWN_ROOM = _ROOM.replace("created_by", f"{unless_erasing('created_by')} AS created_by")
_CHANGING = {name: kind for name, kind in ROOM_COLUMNS.items() if name not in {"kind", "created_by", "created_at"}}
_MEMBER = "user_id, name, state, role, sequence, invited_by"

# The ids come sorted, by every writer, so that two batches cannot wait for each other.
_CONCERNED = """(kind = 'public' OR EXISTS (
  SELECT FROM unnest($2::bigint[], $3::text[], $4::uuid[], $5::boolean[]) AS asks(room, actor, key, anyway)
  WHERE asks.room = q.room_id AND (
    asks.anyway
    OR (SELECT true FROM chat.members m WHERE m.room_id = asks.room AND m.user_id = asks.actor LIMIT 1)
    OR (SELECT true FROM chat.events e WHERE e.room_id = asks.room AND e.event_id = asks.key LIMIT 1)
    OR (SELECT true FROM chat.commands c WHERE c.room_id = asks.room AND c.command_key = asks.key LIMIT 1)
  )
))"""
"""Whether a room is any business of who sends commands for it: it is public, they are in it, or were when they sent
the same before, or administrate. Nobody else gets to lock it, nor learns by waiting for its lock that it exists."""

# With the gate, so that whatever is read thereafter knows of every erasure that was asked for before the commit.
_LOCK_ROOMS = f"""
WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared({GATE}))
SELECT r.* FROM gate CROSS JOIN unnest($1::bigint[]) AS q(room_id) CROSS JOIN LATERAL (
  SELECT {_SHOWN_ROOM} FROM chat.rooms WHERE room_id = q.room_id AND {_CONCERNED} FOR NO KEY UPDATE
) r
"""
_LOCK_FREE_ROOMS = _LOCK_ROOMS.replace("UPDATE", "UPDATE SKIP LOCKED")

_EXISTING_ROOMS = f"""
SELECT r.* FROM unnest($1::bigint[]) AS q(room_id) CROSS JOIN LATERAL (
  SELECT room_id FROM chat.rooms WHERE room_id = q.room_id AND {_CONCERNED} LIMIT 1
) r
"""

# Statements of their own, after the locks: only then do their snapshots hold everything earlier owners committed.
_LOAD_EARLIER = f"""
SELECT q.ordinal, clock_timestamp() AS now, {EVENT_COLUMNS}, c.sequence AS unchanged, c.fingerprint AS unchanged_by
FROM unnest($1::bigint[], $2::uuid[]) WITH ORDINALITY AS q(room_id, key, ordinal)
LEFT JOIN LATERAL (
  SELECT sequence, actor_id, command_id, version FROM chat.events
  WHERE room_id = q.room_id AND event_id = q.key LIMIT 1
) led ON true
-- The events of a command stand side by side: up to the next one of another command, which is seldom far.
LEFT JOIN LATERAL (
  SELECT * FROM chat.events WHERE room_id = q.room_id AND sequence >= led.sequence AND sequence < coalesce((
    SELECT sequence FROM chat.events
    WHERE room_id = q.room_id AND sequence > led.sequence
      AND (actor_id <> led.actor_id OR command_id <> led.command_id OR led.version = 0)
    ORDER BY sequence LIMIT 1
  ), 9223372036854775807) ORDER BY sequence
) e ON true
LEFT JOIN LATERAL (
  SELECT sequence, fingerprint FROM chat.commands WHERE room_id = q.room_id AND command_key = q.key LIMIT 1
) c ON true
"""

# By its place, a command whose sender, whose named user or whose room is being erased.
_ERASING = """
SELECT q.ordinal, x.scope = 'room' AS room
FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS q(room_id, actor, named, ordinal)
CROSS JOIN chat.erasures x
WHERE x.completed_at IS NULL
  AND (x.user_id IN (q.actor, q.named) OR (x.scope = 'room' AND x.room_id = q.room_id))
"""

_LOAD_MEMBERS = f"""
SELECT q.room_id, m.* FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
  SELECT {_MEMBER} FROM chat.members WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) m
"""

_LOAD_DECLINED = """
SELECT q.room_id, d.* FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
  SELECT user_id, declined_at FROM chat.declined WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) d
"""

_LOAD_ELDEST = f"""
SELECT q.room_id, m.* FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, most) CROSS JOIN LATERAL (
  SELECT {_MEMBER} FROM chat.members WHERE room_id = q.room_id AND state = 'joined' ORDER BY sequence LIMIT q.most
) m
"""

# The state is no condition, so that no index of members in a state is read through from end to end.
_COUNT_ROOMS = """
SELECT q.user_id, c.joined FROM unnest($1::text[]) AS q(user_id) CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE m.state = 'joined' AND NOT r.archived) AS joined
  FROM chat.members m CROSS JOIN LATERAL (
    SELECT archived FROM chat.rooms WHERE room_id = m.room_id LIMIT 1
  ) r WHERE m.user_id = q.user_id
) c
"""

_COUNT_INVITATIONS = """
SELECT q.room_id, q.user_id, c.waiting FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
  SELECT count(*) AS waiting FROM chat.members m
  WHERE m.room_id = q.room_id AND m.invited_by = q.user_id AND m.state = 'invited'
) c
"""


def _changes(first: int) -> str:
    """Sets what may change of rooms, from arrays that begin at this parameter with the ids, sorted.

    `width_bucket` finds a room's values in them without a join. What is as it was costs no index.
    """
    return ", ".join(
        f"{column} = (${place}::{kind}[])[width_bucket(room_id, ${first})]"
        for place, (column, kind) in enumerate(_CHANGING.items(), first)
        if column != "room_id"
    )


_APPEND = f"""
WITH appended AS (
  INSERT INTO chat.events (room_id, sequence, number, event_id, type, version, actor_id, actor_name, command_id,
                           fingerprint, data, recorded_at)
  SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::smallint[], $6::smallint[],
                       $7::bytea[], $8::text[], $9::bytea[], $10::int[], $11::json[], $12::timestamptz[])
)
UPDATE chat.rooms SET {_changes(13)} WHERE room_id = ANY($13::bigint[])
"""

_RECALL = f"""
SELECT r.*, m.* FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
  SELECT {_ROOM} FROM chat.rooms WHERE room_id = q.room_id LIMIT 1
) r CROSS JOIN LATERAL (
  SELECT {_MEMBER} FROM chat.members WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
) m
"""

# One statement, and so one transaction. Each room is locked and compared with what was known of it: under READ
# COMMITTED a row that another transaction held is read again once it is free, so `head` and `messages` are those under
# the lock, and a room whose `changed` moved meanwhile is left out. Sequences follow from them, so messages of many
# processes never conflict. A command whose id was used before makes the statement do nothing but name it.
_APPEND_KNOWN = """
WITH resent AS MATERIALIZED (
  SELECT q.ordinal FROM unnest($5::bigint[], $8::uuid[]) WITH ORDINALITY AS q(room_id, event_id, ordinal)
  CROSS JOIN LATERAL (
    (SELECT true FROM chat.events WHERE room_id = q.room_id AND event_id = q.event_id LIMIT 1)
    UNION ALL
    (SELECT true FROM chat.commands WHERE room_id = q.room_id AND command_key = q.event_id LIMIT 1)
  ) earlier
), ready AS MATERIALIZED (
  SELECT r.* FROM unnest($1::bigint[], $2::bigint[]) AS q(room_id, changed) CROSS JOIN LATERAL (
    SELECT room_id, head, messages FROM chat.rooms
    WHERE room_id = q.room_id AND changed = q.changed FOR NO KEY UPDATE
  ) r
  WHERE NOT EXISTS (SELECT FROM resent)
  -- What is being erased is left to those who look closer.
  AND CASE WHEN {open} THEN NOT EXISTS (
    SELECT FROM chat.erasures x CROSS JOIN unnest($5::bigint[], $11::bytea[]) AS q(room_id, actor_id)
    WHERE x.completed_at IS NULL AND q.room_id = r.room_id
      AND (x.actor_id = q.actor_id OR (x.scope = 'room' AND x.room_id = r.room_id))
  ) ELSE true END
), taken AS MATERIALIZED (
  SELECT array_agg(room_id) AS rooms, array_agg(head) AS heads, array_agg(messages) AS messages,
         clock_timestamp() AS now
  FROM ready
), appended AS (
  INSERT INTO chat.events (room_id, sequence, number, event_id, type, version, actor_id, actor_name, command_id,
                           fingerprint, data, recorded_at)
  SELECT q.room_id, taken.heads[p.place] + q.ordinal, taken.messages[p.place] + q.number, q.event_id, q.type, q.version,
         q.actor_id, q.actor_name, q.command_id, q.fingerprint, q.data, taken.now
  FROM taken CROSS JOIN unnest(
    $5::bigint[], $6::bigint[], $7::bigint[], $8::uuid[], $9::smallint[], $10::smallint[], $11::bytea[], $12::text[],
    $13::bytea[], $14::int[], $15::json[]
  ) AS q(room_id, ordinal, number, event_id, type, version, actor_id, actor_name, command_id, fingerprint, data)
  CROSS JOIN LATERAL (SELECT width_bucket(q.room_id, taken.rooms) AS place) p
  WHERE taken.rooms[p.place] = q.room_id
), advanced AS (
  UPDATE chat.rooms SET head = head + ($3::bigint[])[width_bucket(room_id, $1)],
                        messages = messages + ($4::bigint[])[width_bucket(room_id, $1)]
  WHERE room_id = ANY((SELECT rooms FROM taken)::bigint[])
)
SELECT rooms, heads, messages, now, ARRAY(SELECT ordinal FROM resent) AS resent FROM taken
""".replace("{open}", ANY_OPEN)
_APPEND_FREE = _APPEND_KNOWN.replace("NO KEY UPDATE", "NO KEY UPDATE SKIP LOCKED")

_CREATE_ROOMS = f"""
INSERT INTO chat.rooms ({_ROOM})
SELECT * FROM unnest({", ".join(f"${place}::{kind}[]" for place, kind in enumerate(ROOM_COLUMNS.values(), 1))})
"""

_PUT_MEMBERS = f"""
INSERT INTO chat.members (room_id, {_MEMBER})
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[])
ON CONFLICT (room_id, user_id) DO UPDATE
SET name = excluded.name, state = excluded.state, role = excluded.role, sequence = excluded.sequence,
    invited_by = excluded.invited_by
"""

# By their places in the table, which nobody but the owner of the room's lock can have changed.
_REMOVE_MEMBERS = """
DELETE FROM chat.members WHERE ctid = ANY(ARRAY(
  SELECT m.place FROM unnest($1::bigint[], $2::text[]) AS q(room_id, user_id) CROSS JOIN LATERAL (
    SELECT ctid AS place FROM chat.members WHERE room_id = q.room_id AND user_id = q.user_id LIMIT 1
  ) m
))
"""

_PUT_DECLINED = """
INSERT INTO chat.declined (room_id, user_id, declined_at)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::timestamptz[])
ON CONFLICT (room_id, user_id) DO UPDATE SET declined_at = excluded.declined_at
"""

_REMEMBER = """
INSERT INTO chat.commands (room_id, command_key, fingerprint, sequence)
SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::int[], $4::bigint[]) ON CONFLICT DO NOTHING
"""


async def read_secret(connection: Any) -> bytes:
    """The secret of the log behind a connection."""
    return await connection.fetchval("SELECT room_secret FROM chat.log")


class LockedRooms(NamedTuple):
    """What `lock_rooms` got: rooms as they are now, and those that another process has locked."""

    rooms: dict[int, Room]
    away: set[int]


async def lock_rooms(connection: Any, submissions: list[Submission], *, wait: bool) -> LockedRooms:
    """Lock the rooms of these commands until the end of the transaction; with `wait` all of them, else the free ones.

    A room that does not exist for any of the senders is not locked. Raises `asyncpg.LockNotAvailableError` when it has
    waited for too long.
    """
    wanted = sorted({one.room_id for one in submissions})
    asks = _columns(
        [(one.room_id, one.identity.user_id, one.key, isinstance(one.command, CloseRoom)) for one in submissions]
    )
    rows = await connection.fetch(_LOCK_ROOMS if wait else _LOCK_FREE_ROOMS, wanted, *asks)
    rooms = {row["room_id"]: _room(row) for row in rows}
    away: set[int] = set()
    if not wait and len(rooms) < len(wanted):
        others = [room_id for room_id in wanted if room_id not in rooms]
        away = {row["room_id"] for row in await connection.fetch(_EXISTING_ROOMS, others, *asks)}
    return LockedRooms(rooms, away)


async def load(connection: Any, submissions: list[Submission], rooms: dict[int, Room]) -> Loaded:
    """Read what deciding these commands needs besides their rooms, which are locked."""
    if not submissions:
        return Loaded(datetime.now(UTC), rooms)
    keys = [submission.key for submission in submissions]
    # First, so that what is recorded is recorded after an erasure of which this sees the end.
    asks = [(one.room_id, one.identity.user_id, one.needs.member) for one in submissions]
    erased = await connection.fetch(_ERASING, *_columns(asks))
    rows = await connection.fetch(_LOAD_EARLIER, [submission.room_id for submission in submissions], keys)
    loaded = Loaded(rows[0]["now"], rooms, erasing={keys[row["ordinal"] - 1]: row["room"] for row in erased})
    events: defaultdict[UUID, list[Recorded]] = defaultdict(list)
    for row in rows:
        ordinal: int = row["ordinal"]
        key = keys[ordinal - 1]
        if row["sequence"] is not None:
            events[key].append(recorded_row(row))
        elif row["unchanged"] is not None:
            loaded.earlier[key] = Remembered(row["unchanged_by"], row["unchanged"])
    loaded.earlier.update(events)
    await _load_members(connection, submissions, rooms)
    if users := sorted({one.identity.user_id for one in submissions if one.needs.rooms}):
        loaded.joined.update({row["user_id"]: row["joined"] for row in await connection.fetch(_COUNT_ROOMS, users)})
    if inviting := sorted({(one.room_id, one.identity.user_id) for one in submissions if one.needs.invitations}):
        counts = await connection.fetch(_COUNT_INVITATIONS, *_columns(inviting))
        loaded.invitations.update({(row["room_id"], row["user_id"]): row["waiting"] for row in counts})
    return loaded


async def _load_members(connection: Any, submissions: list[Submission], rooms: dict[int, Room]) -> None:
    places = {(one.room_id, one.identity.user_id) for one in submissions}
    places.update((one.room_id, one.needs.member) for one in submissions if one.needs.member is not None)
    rows = await connection.fetch(_LOAD_MEMBERS, *_columns(sorted(places)))
    leaving: dict[int, int] = {}
    for one in submissions:
        if one.needs.eldest:
            # One more than may leave in this batch: whoever of them is the owner, somebody is left to take over.
            leaving[one.room_id] = leaving.get(one.room_id, 1) + 1
    if leaving:
        rows += await connection.fetch(_LOAD_ELDEST, list(leaving), list(leaving.values()))
    for room_id, *member in rows:
        if (room := rooms.get(room_id)) is not None:
            room.members[member[0]] = Member(*member)
    if invited := [(one.room_id, one.needs.member) for one in submissions if one.needs.invitations]:
        for room_id, user_id, at in await connection.fetch(_LOAD_DECLINED, *_columns(invited)):
            if (room := rooms.get(room_id)) is not None:
                room.declined[user_id] = at


async def recall(connection: Any, places: list[tuple[int, str]]) -> list[Room]:
    """Rooms as they are now, each with one user's place in it; without those in which the user has none."""
    rooms: list[Room] = []
    for row in await connection.fetch(_RECALL, *_columns(places)):
        values = list(row.values())
        member = Member(*values[len(ROOM_COLUMNS) :])
        rooms.append(Room(*values[: len(ROOM_COLUMNS)], members={member.user_id: member}))
    return rooms


class Taken(NamedTuple):
    """What `append` did: `heads` has the head and the number of messages behind which each room was appended to.

    `resent` are keys of commands that had been appended before; then nothing was done.
    """

    heads: dict[int, tuple[int, int]]
    now: datetime
    resent: set[UUID]


async def append(connection: Any, drafts: Drafts, *, wait: bool) -> Taken:
    """Append drafts, and commit: to all rooms that are as was known, or to none if a command is found to be a resend.

    Rooms that another process has locked are waited for, or left out. Raises `asyncpg.LockNotAvailableError` when it
    has waited for too long, and `asyncpg.UniqueViolationError` when a command is appended by another process right now.
    """
    ids = sorted(drafts.rooms)
    known = [drafts.rooms[room_id] for room_id in ids]
    events = [
        (one.submission.room_id, one.ordinal, one.number, one.event_id, one.stored.number, one.stored.version,
         pack_user(one.submission.identity.user_id), one.submission.identity.name, pack(one.submission.command.id),
         one.submission.fingerprint, one.stored.data.decode())
        for _, waiting in known for one in waiting
    ]  # fmt: skip
    changed = [room.changed for room, _ in known]
    added = [len(waiting) for _, waiting in known]
    messages = [waiting[-1].number for _, waiting in known]
    statement = _APPEND_KNOWN if wait else _APPEND_FREE
    (row,) = await connection.fetch(statement, ids, changed, added, messages, *_columns(events))
    rooms, heads, numbers, now, resent = row
    placed = zip(heads or (), numbers or (), strict=True)
    return Taken(dict(zip(rooms or (), placed, strict=True)), now, {events[ordinal - 1][3] for ordinal in resent})


async def save(connection: Any, plan: BatchDecision, rooms: dict[int, Room]) -> None:
    """Append the planned events, bring the projections up to them, and remember what appended nothing."""
    if created := sorted(plan.created.values(), key=lambda room: room.room_id):
        await connection.execute(_CREATE_ROOMS, *_columns([room_row(room) for room in created]))
    if plan.appended:
        changed = sorted(tuple(getattr(room, column) for column in _CHANGING) for room in plan.changed.values())
        events = [event_row(event) for event in plan.appended]
        await connection.execute(_APPEND, *_columns(events), *(_columns(changed) or [[]] * len(_CHANGING)))
    present: list[tuple[Any, ...]] = []
    gone: list[tuple[Any, ...]] = []
    declined: list[tuple[Any, ...]] = []
    for room_id, user_id in plan.members:
        if m := rooms[room_id].members.get(user_id):
            present.append(member_row(room_id, m))
        else:
            gone.append((room_id, user_id))
            if at := rooms[room_id].declined.get(user_id):
                declined.append(declined_row(room_id, user_id, at))
    if present:
        await connection.execute(_PUT_MEMBERS, *_columns(present))
    if gone:
        await connection.execute(_REMOVE_MEMBERS, *_columns(gone))
    if declined:
        await connection.execute(_PUT_DECLINED, *_columns(declined))
    if remembered := plan.remembered.items():
        rows = [(room_id, key, one.fingerprint, one.sequence) for key, (room_id, one) in remembered]
        await connection.execute(_REMEMBER, *_columns(rows))


def recorded_row(row: Any) -> Recorded:
    """The row of `EVENT_COLUMNS` as everybody may read it, its data of today's version."""
    recorded = stored_row(row)
    return hidden(recorded) if row["hidden"] and not recorded.erased else recorded


def stored_row(row: Any) -> Recorded:
    """The same as it is in the log, for those alone who make projections of it: hidden or not."""
    name, data = CODEC.upcast(StoredEvent(row["type"], row["version"], row["data"].encode()))
    return Recorded(
        row["room_id"], row["sequence"], row["number"], row["event_id"], name, unpack(row["actor_id"]),
        row["actor_name"], unpack(row["command_id"]), row["fingerprint"], data, row["recorded_at"],
        row["version"] == ERASED,
    )  # fmt: skip


def event_row(event: Recorded) -> tuple[Any, ...]:
    """What `chat.events` holds of an event, in the order of the statement that appends."""
    number, version = CODEC.stored_as(event.type)
    version = ERASED if event.erased else version
    return (
        event.room_id, event.sequence, event.number, event.event_id, number, version, pack_user(event.actor_id),
        event.actor_name, pack(event.command_id), event.fingerprint, event.data.decode(), event.recorded_at,
    )  # fmt: skip


def _room(row: Any) -> Room:
    return Room(*row.values())


def _columns(rows: list[Any]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
