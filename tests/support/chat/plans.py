"""Plans of statements, and rooms enough for them to matter."""

from __future__ import annotations

from typing import Any

FILL = (
    """INSERT INTO chat.rooms (room_id, head, changed, created_at, name, kind, created_by)
       SELECT n, 10, 1, now(), 'R', 'public', 'u' FROM generate_series({0}, {1}) n""",
    """INSERT INTO chat.members (room_id, user_id, name, state, role, sequence)
       SELECT n, 'u' || (n + m) % 500, 'U', 'joined', 'member', m
       FROM generate_series({0}, {1}) n, generate_series(1, 8) m""",
    """INSERT INTO chat.declined (room_id, user_id, declined_at)
       SELECT n, 'u' || n % 500, now() FROM generate_series({0}, {1}) n""",
    """INSERT INTO chat.commands (room_id, command_key, sequence, fingerprint)
       SELECT n, gen_random_uuid(), 1, 1 FROM generate_series({0}, {1}) n""",
    """INSERT INTO chat.events (room_id, sequence, number, recorded_at, event_id, fingerprint, type, version, actor_id,
                                command_id, actor_name, data)
       SELECT n, s, s, now(), gen_random_uuid(), 1, 5, 1, 'u', 'c', 'U', '{{"body":"x"}}'
       FROM generate_series({0}, {1}) n, generate_series(1, 10) s""",
)


def plan_nodes(plan: dict[str, Any]) -> Any:
    """The nodes of a plan that touch tables or indices."""
    if {"Relation Name", "Index Name"} & set(plan):
        yield tuple(str(plan.get(key, "")) for key in ("Node Type", "Relation Name", "Index Name", "Index Cond"))
    for child in plan.get("Plans", ()):
        yield from plan_nodes(child)
