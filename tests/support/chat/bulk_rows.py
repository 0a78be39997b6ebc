"""Many rooms and events at once, written by SQL as the writer would have written them."""

from __future__ import annotations

from typing import Any

from parley.chat.domain.encoding.compact import pack
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.messages import MessageSent


async def fill(
    connection: Any, rooms: int, messages: int, *, member: str = "u_ann", kind: str = "public", body: str = "hello",
    name: str = "Ann", first: int = 1,
) -> list[str]:  # fmt: skip
    """Make rooms of one member, with numbered names and as many messages each; their public ids, oldest room first."""
    keys = list(range(first, first + rooms))
    await connection.execute(
        """INSERT INTO chat.rooms (room_id, head, messages, changed, member_count, created_at, name, kind, created_by)
           SELECT key, $2, $2, 1, 1, now() - interval '1 day' + key * interval '1 ms', 'Room ' || key, $3, $4
           FROM unnest($1::bigint[]) AS key""",
        keys, messages, kind, member,
    )  # fmt: skip
    await connection.execute(
        """INSERT INTO chat.members (room_id, user_id, name, state, role, sequence)
           SELECT key, $2, 'Ann', 'joined', 'owner', 1 FROM unnest($1::bigint[]) AS key""",
        keys, member,
    )  # fmt: skip
    await connection.execute(
        """INSERT INTO chat.events (room_id, sequence, number, event_id, fingerprint, type, version, actor_id,
                                    command_id, actor_name, data, recorded_at)
           SELECT key, sequence, sequence, gen_random_uuid(), 0, $3, 1, $4, $5, $6,
                  json_build_object('body', $7::text), now() - interval '1 day'
           FROM unnest($1::bigint[]) AS key, generate_series(1, $2) AS sequence""",
        keys, messages, MessageSent.NUMBER, pack(member), pack("c"), name, body,
    )  # fmt: skip
    return [public_room_id(key) for key in keys]


async def plan_of(connection: Any, statement: str, *args: Any) -> str:
    """The plan of a statement as a prepared one has it after a while: for any arguments."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {statement}", *args)
    finally:
        await transaction.rollback()
    return "\n".join(row[0] for row in rows)
