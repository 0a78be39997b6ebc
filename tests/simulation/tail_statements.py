"""What the statements of who follows the log do to the double's tables, and who holds which advisory lock."""

from __future__ import annotations

from typing import Any

from parley.chat.delivery import announcer
from parley.chat.log import leadership, tail
from tests.simulation.database import Database, Row, Statement, Transaction

Args = tuple[Any, ...]


def try_lock(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    holder = database.advisory_locks.get(args)
    session = transaction.session
    if holder in (None, session) or holder not in database.sessions:
        database.advisory_locks[args] = session
        return [Row(taken=True)]
    # Postgres ends a session that has said nothing for so long.
    if database.loop.now - holder.asked_at > tail.IDLE_SECONDS:
        holder.cut()
    return [Row(taken=False)]


def state(database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    return [Row(incarnation=database.incarnation, mended=0)]


def load(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    position, batch = database.tables.consumers.setdefault(args[0], ("3:", ""))
    return [Row(position=position, batch=batch)]


def save(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    name, position, before, batch = args
    if database.tables.consumers[name][1] != before:
        return []
    transaction.writes.append(lambda tables: tables.consumers.__setitem__(name, (position, batch)))
    return [Row(saved=True)]


def heads(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    running, following, below, within, room, after, most, kinds = args
    found: list[tuple[int, int, int, Row]] = []
    for room_id, events in database.tables.events.items():
        for sequence, event in events.items():
            transaction_id = event["transaction_id"]
            if transaction_id not in running and not following <= transaction_id < below:
                continue
            if str(transaction_id) != within or (room_id, sequence) > (room, after):
                found.append((transaction_id, room_id, sequence, event))
    page = sorted(found, key=lambda one: one[:3])[:most]
    moved: dict[int, int] = {}
    for _, room_id, sequence, _ in page:
        moved[room_id] = max(sequence, moved.get(room_id, 0))
    named = [one for one in page if one[3]["type"] in kinds]
    last = page[-1] if page else (None, None, None)
    return [
        Row(
            snapshot=database.snapshot(), incarnation=database.incarnation, mended=0, transaction_offset=0,
            size=len(page), age=0.0, moved_rooms=[one[1] for one in named], moved_sequences=[one[2] for one in named],
            transaction_id=last[0], room_id=last[1], sequence=last[2], rooms=list(moved), heads=list(moved.values()),
        )
    ]  # fmt: skip


def named(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [database.tables.events[room_id][sequence] for room_id, sequence in sorted(zip(*args, strict=True))]


def summarize(_database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    return [Row(summarize_tail=0)]


TAIL_STATEMENTS: dict[str, Statement] = {
    leadership._TRY: try_lock,
    announcer._STATE: state,
    announcer._LOAD: load,
    announcer._SAVE: save,
    tail._HEADS: heads,
    tail._NAMED: named,
    "SELECT chat.summarize_tail($1)": summarize,
}
