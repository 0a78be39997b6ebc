"""The log and its projections in one transaction: load under the rooms' locks, append, project.

Statements are set-based (`unnest`), so a batch of one and a batch of hundreds make the same few round trips.
"""

from __future__ import annotations

from typing import Any

import msgspec

from parley.chat.domain.batch import Loaded, Plan, Submission
from parley.chat.domain.commands import InviteUser
from parley.chat.domain.events import Recorded
from parley.chat.domain.room import Member, Room

# Rooms are locked in the order of their ids, by every writer, so that two batches cannot wait for each other.
_LOCK_ROOMS = """
SELECT id, name, kind, archived, head, member_count, created_by, created_at
FROM chat.rooms WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE
"""

# A statement of its own, after the locks: only then does its snapshot hold everything earlier owners committed.
_LOAD = """
SELECT q.ordinal, m.name AS member_name, m.state, m.role, m.sequence AS member_sequence,
       t.name AS other_name, t.state AS other_state, t.role AS other_role, t.sequence AS other_sequence,
       e.sequence, e.event_id, e.type, e.data::text, e.metadata::text, e.recorded_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
     AS q(room_id, user_id, command_id, other_id, ordinal)
LEFT JOIN chat.members m ON m.room_id = q.room_id AND m.user_id = q.user_id
LEFT JOIN chat.members t ON t.room_id = q.room_id AND t.user_id = q.other_id
LEFT JOIN chat.events e ON e.room_id = q.room_id AND e.actor_id = q.user_id AND e.command_id = q.command_id
"""

_COUNT_ROOMS = """
SELECT user_id, count(*) AS joined FROM chat.members
WHERE user_id = ANY($1::text[]) AND state = 'joined' GROUP BY user_id
"""

_APPEND = """
WITH appended AS (
  INSERT INTO chat.events (room_id, sequence, event_id, type, actor_id, command_id, data, metadata, recorded_at)
  SELECT * FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[],
                       $7::jsonb[], $8::jsonb[], $9::timestamptz[])
)
UPDATE chat.rooms r
SET head = u.head, archived = u.archived, member_count = u.member_count, updated_at = clock_timestamp()
FROM unnest($10::text[], $11::bigint[], $12::boolean[], $13::bigint[]) AS u(id, head, archived, member_count)
WHERE r.id = u.id
"""

_CREATE_ROOMS = """
INSERT INTO chat.rooms (id, name, kind, archived, head, member_count, created_by, created_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::bigint[], $6::bigint[], $7::text[],
                     $8::timestamptz[])
"""

_PUT_MEMBERS = """
INSERT INTO chat.members (room_id, user_id, name, state, role, sequence)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
ON CONFLICT (room_id, user_id) DO UPDATE
SET name = excluded.name, state = excluded.state, role = excluded.role, sequence = excluded.sequence
"""

_REMOVE_MEMBERS = """
DELETE FROM chat.members m USING unnest($1::text[], $2::text[]) AS q(room_id, user_id)
WHERE m.room_id = q.room_id AND m.user_id = q.user_id
"""


async def load(connection: Any, submissions: list[Submission]) -> Loaded:
    """Lock the rooms these commands are about and read what deciding them needs."""
    ids = sorted({submission.room_id for submission in submissions})
    rooms = {row["id"]: _room(row) for row in await connection.fetch(_LOCK_ROOMS, ids)}
    others = [s.command.user.id if isinstance(s.command, InviteUser) else "" for s in submissions]
    keys = [submission.key for submission in submissions]
    columns = [list(column) for column in zip(*keys, strict=True)]
    loaded = Loaded(rooms, {}, {})
    for row in await connection.fetch(_LOAD, *columns, others):
        index: int = row["ordinal"] - 1
        room_id, user_id, command_id = keys[index]
        if (room := rooms.get(room_id)) is None:
            continue
        if row["state"]:
            room.members[user_id] = Member(
                user_id, row["member_name"], row["state"], row["role"], row["member_sequence"]
            )
        if row["other_state"]:
            other = others[index]
            room.members[other] = Member(
                other, row["other_name"], row["other_state"], row["other_role"], row["other_sequence"]
            )
        if row["sequence"]:
            loaded.first[keys[index]] = recorded_row(row, room_id, user_id, command_id)
    if joining := sorted({s.identity.user_id for s in submissions if s.joins}):
        loaded.joined.update({row["user_id"]: row["joined"] for row in await connection.fetch(_COUNT_ROOMS, joining)})
    return loaded


async def save(connection: Any, plan: Plan, rooms: dict[str, Room]) -> None:
    """Append the planned events and bring the projections up to them."""
    if created := list(plan.created.values()):
        await connection.execute(
            _CREATE_ROOMS,
            *_columns([(r.id, r.name, r.kind, r.archived, r.head, r.member_count, r.created_by, r.created_at)
                       for r in created]),
        )  # fmt: skip
    changed = [(r.id, r.head, r.archived, r.member_count) for r in plan.changed.values()]
    await connection.execute(
        _APPEND, *_columns([_event_row(event) for event in plan.appended]), *(_columns(changed) or ([], [], [], []))
    )
    present: list[tuple[Any, ...]] = []
    gone: list[tuple[Any, ...]] = []
    for room_id, user_id in plan.members:
        if member := rooms[room_id].members.get(user_id):
            present.append((room_id, user_id, member.name, member.state, member.role, member.sequence))
        else:
            gone.append((room_id, user_id))
    if present:
        await connection.execute(_PUT_MEMBERS, *_columns(present))
    if gone:
        await connection.execute(_REMOVE_MEMBERS, *_columns(gone))


def recorded_row(row: Any, room_id: str, actor_id: str, command_id: str) -> Recorded:
    """The log row as the domain knows it; `metadata` and `data` are selected as text."""
    metadata = msgspec.json.decode(row["metadata"], type=dict[str, str])
    return Recorded(
        room_id,
        row["sequence"],
        row["event_id"],
        row["type"],
        actor_id,
        metadata["actor_name"],
        command_id,
        metadata["fingerprint"],
        metadata["correlation"],
        row["data"].encode(),
        row["recorded_at"],
    )


def _room(row: Any) -> Room:
    return Room(
        row["id"], row["name"], row["kind"], row["created_by"], row["created_at"], row["archived"], row["head"],
        row["member_count"],
    )  # fmt: skip


def _event_row(event: Recorded) -> tuple[Any, ...]:
    metadata = {
        "actor_name": event.actor_name,
        "correlation": event.correlation,
        "fingerprint": event.fingerprint,
    }
    return (
        event.room_id,
        event.sequence,
        event.event_id,
        event.type,
        event.actor_id,
        event.command_id,
        event.data.decode(),
        msgspec.json.encode(metadata).decode(),
        event.recorded_at,
    )


def _columns(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
