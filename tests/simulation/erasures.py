"""Erasures in the double: what is hidden while one is open, and the statements that ask for them and execute them.

Of users and of single messages; those of rooms and by age are the same machine.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from parley.chat.domain.encoding.compact import unpack
from parley.chat.domain.encoding.event_codec import ERASED
from parley.chat.domain.erasure import TEXTS, Erasure, ErasureScope
from parley.chat.domain.messages.amending import MessageEdited
from parley.chat.domain.messages.sending import MessageSent
from parley.chat.log import statements
from parley.chat.log.erasure import erasure_statements, erasures, own_rows, people_rows
from tests.simulation.database import Database, Statement
from tests.simulation.tables import Row, Tables, Transaction

Args = tuple[Any, ...]
COLUMNS = tuple(name.strip() for name in erasures._COLUMNS.split(","))
_ABOUT_USERS = {int(number) for number in erasures._ABOUT_USERS.split(",")}
_MESSAGES = {int(number) for number in erasures.MESSAGES.split(",")}
_NEEDED = {int(number) for number in erasure_statements.NEEDED.split(",")}
_NAMING = {int(number) for number in erasure_statements.NAMING.split(",")}


def open_erasures(tables: Tables) -> list[Row]:
    """Those that are not completed, the oldest first."""
    return [one for one in tables.erasures.values() if one["completed_at"] is None]


def covers(erasure: Row, event: Row) -> bool:
    """Whether an erasure covers an event."""
    if erasure["scope"] == "message":
        return (event["room_id"], event["event_id"]) == (erasure["room_id"], erasure["event_id"])
    named = json.loads(event["data"]).get("user", {}).get("id") if event["type"] in _ABOUT_USERS else None
    return erasure["user_id"] in (unpack(event["actor_id"]), named)


def shown(tables: Tables, event: Row) -> Row:
    """An event with whether it is to be read as erased."""
    hidden = event["sequence"] is not None and any(covers(one, event) for one in open_erasures(tables))
    return Row(event, hidden=hidden)


def shown_room(tables: Tables, room_id: int) -> Row:
    """A room without a maker whose all is being erased."""
    room = tables.rooms[room_id]
    if any(room["created_by"] == one["user_id"] for one in open_erasures(tables)):
        return Row(room, created_by="")
    return room


# -- asking for them -----------------------------------------------------------------------------------------------


async def alone(database: Database, transaction: Transaction, _args: Args) -> list[Row]:
    await database.pass_gate(transaction, erasures.GATE_SECONDS, alone=True)
    return [Row(passed=None)]


def same(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    asked = ("scope", "user_id", "room_id", "event_id")
    found = [one for one in open_erasures(database.tables) if tuple(one[name] for name in asked) == tuple(args)]
    return [Row((name, one[name]) for name in COLUMNS) for one in found]


def request(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    identifier, scope, user_id, actor_id, room_id, event_id, before, requested_at, noted, repeated = args
    values = (identifier, scope, user_id, room_id, event_id, before, requested_at or database.clock(), noted, repeated)
    row = Row(zip(COLUMNS, (*values, None, None, None, 0, 0), strict=True))
    transaction.writes.append(_put(Row(row, actor_id=actor_id)))
    return [row]


def one(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    found = database.tables.erasures.get(args[0])
    return [] if found is None else [Row((name, found[name]) for name in COLUMNS)]


def all_open(database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    return [Row((name, found[name]) for name in COLUMNS) for found in open_erasures(database.tables)]


def message(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    found = database.tables.events[args[0]].get(args[1])
    return [] if found is None or found["type"] not in _MESSAGES else [Row(event_id=found["event_id"])]


# -- executing them ------------------------------------------------------------------------------------------------


def begin(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    now = database.clock()
    transaction.writes.append(_change(args[0], lambda row: {"started_at": row["started_at"] or now}))
    return []


def move(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    transaction.writes.append(_change(args[0], lambda _: {"at_room": args[1], "at_sequence": args[2]}))
    return []


def count(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    transaction.writes.append(_change(args[0], lambda row: {"events": row["events"] + args[1]}))
    return []


def complete(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    transaction.writes.append(_change(args[0], lambda _: {"completed_at": database.clock()}))
    return []


def transaction_of(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    found = database.tables.by_id.get((args[0], args[1]))
    return [] if found is None else [Row(transaction_id=found["transaction_id"])]


def announced(_database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    return []  # nobody announces where nobody listens


def rooms_of(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    user_id, after = args
    places = database.tables.members
    return [Row(room_id=room_id) for room_id in sorted(places) if room_id > after and user_id in places[room_id]][:100]


def rooms_from(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    rooms = database.tables.rooms
    return [Row(room_id=one, head=rooms[one]["head"]) for one in sorted(rooms) if one >= args[0]][: args[1]]


def rooms_after(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    rooms = database.tables.rooms
    return [Row(room_id=one, head=rooms[one]["head"]) for one in sorted(rooms) if one > args[0]][: args[1]]


def room(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [Row(room_id=args[0], head=database.tables.rooms[args[0]]["head"])]


def sequence_of(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    found = database.tables.by_id.get(tuple(args))
    return [] if found is None else [Row(sequence=found["sequence"])]


def _is_left(erasure: Row, event: Row) -> bool:
    left_over = erasure["scope"] == "user" and event["type"] in _ABOUT_USERS
    return event["version"] != ERASED or event["actor_id"] != b"" or left_over


def _what_is_needed(event: Row) -> str:
    data = json.loads(event["data"])
    if event["type"] in _NEEDED:
        return event["data"]
    kept = {MessageSent.NUMBER: "thread", MessageEdited.NUMBER: "message"}.get(event["type"], "")
    return json.dumps({kept: data[kept]}, separators=(",", ":")) if kept in data else "{}"


def covered(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    identifier, *places = args
    erasure = database.tables.erasures[identifier]
    found: list[Row] = []
    for room_id, after, up_to in zip(*places, strict=True):
        events = database.tables.events[room_id]
        for number in sorted(events):
            event = events[number]
            if after < number <= up_to and _is_left(erasure, event) and covers(erasure, event):
                found.append(Row(event, data=_what_is_needed(event)))
    return found


def overwrite(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    room_id, sequences, left_over = args
    transaction.writes.append(_overwrite(room_id, dict(zip(sequences, left_over, strict=True))))
    return []


def named_by(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    events = database.tables.events[args[0]]
    naming = {number: json.loads(event["data"]) for number, event in events.items() if event["type"] in _NAMING}
    # The first event creates the room, and has both.
    present = {text: max(at for at, data in naming.items() if at == 1 or text in data) for text in TEXTS}
    return [Row(changed=database.tables.rooms[args[0]]["changed"], **present)]


async def lock(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    await database.lock(args[0], transaction)
    room = database.tables.rooms[args[0]]
    return [Row(changed=room["changed"], member_count=room["member_count"])]


def forget_maker(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    transaction.writes.append(_change_room(args[0], {"created_by": "", "kind": args[1]}))
    return []


def rename(text: str) -> Statement:
    def statement(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
        transaction.writes.append(_change_room(args[0], {text: args[1], f"{text}_kept_in": args[2]}))
        return []

    return statement


def kept_texts(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    event = database.tables.events[args[0]][args[1]]
    return [Row(type=event["type"], data=event["data"])] if event["version"] == ERASED else []


def forget_texts(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    room_id, sequence, data = args
    transaction.writes.append(_overwrite(room_id, {sequence: data}))
    return []


def forget_declined(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    def write(tables: Tables) -> None:
        tables.declined.pop((args[0], args[1]), None)

    transaction.writes.append(write)
    return []


def forget_restrictions(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    def write(tables: Tables) -> None:
        tables.restrictions.pop((args[0], args[1]), None)

    transaction.writes.append(write)
    return []


def forget_nothing(_database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    return []


def forget_inviter(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    room_id, sequences = args

    def write(tables: Tables) -> None:
        for user_id, member in tables.members[room_id].items():
            if member["sequence"] in sequences and member["state"] == "invited":
                tables.members[room_id][user_id] = Row(member, name=user_id, invited_by="")

    transaction.writes.append(write)
    return []


def _put(row: Row) -> Any:
    return lambda tables: tables.erasures.setdefault(row["id"], row)


def _change(identifier: Any, change: Any) -> Any:
    def write(tables: Tables) -> None:
        tables.erasures[identifier] = Row(tables.erasures[identifier], **change(tables.erasures[identifier]))

    return write


def _change_room(room_id: int, change: dict[str, Any]) -> Any:
    return lambda tables: tables.rooms.__setitem__(room_id, Row(tables.rooms[room_id], **change))


def _overwrite(room_id: int, left_over: dict[int, str]) -> Any:
    nobody = {"version": ERASED, "actor_id": b"", "actor_name": "", "command_id": b"", "fingerprint": 0}

    def write(tables: Tables) -> None:
        for number, data in left_over.items():
            row = tables.events[room_id][number] = Row(tables.events[room_id][number], data=data, **nobody)
            tables.by_id[room_id, row["event_id"]] = row

    return write


_SET_TIMEOUT = f"SET LOCAL lock_timeout = {round(erasures.GATE_SECONDS * 1000)}"

STATEMENTS: dict[str, Statement] = {
    _SET_TIMEOUT: lambda _database, _transaction, _args: [],
    "SELECT pg_advisory_xact_lock($1)": alone,
    erasures._SAME: same,
    erasures._REQUEST: request,
    erasures._ONE: one,
    erasures._OPEN: all_open,
    erasures._MESSAGE: message,
    erasure_statements.BEGIN: begin,
    erasure_statements.MOVE: move,
    erasure_statements.COUNT: count,
    erasure_statements.COMPLETE: complete,
    erasure_statements.TRANSACTION: transaction_of,
    erasure_statements.ANNOUNCED: announced,
    erasure_statements.ROOMS_OF: rooms_of,
    erasure_statements.ROOMS_FROM: rooms_from,
    erasure_statements.ROOMS_AFTER: rooms_after,
    erasure_statements.ROOM: room,
    erasure_statements.MESSAGE: sequence_of,
    erasure_statements.COVERED: covered,
    erasure_statements.OVERWRITE: overwrite,
    erasure_statements.NAMED_BY: named_by,
    erasure_statements.LOCK: lock,
    erasure_statements.FORGET_MAKER: forget_maker,
    **{erasure_statements.RENAME[text]: rename(text) for text in TEXTS},
    statements.KEPT_TEXTS: kept_texts,
    statements.FORGET_TEXTS: forget_texts,
    **{
        statement: forget_nothing
        for scope in (ErasureScope.USER, ErasureScope.MESSAGE)
        for one in [Erasure(UUID(int=0), scope, "u", 1, None, None, datetime(2026, 1, 1, tzinfo=UTC))]
        for statement, _ in people_rows.statements(one)
    },
    **dict(zip(erasure_statements.FORGET_USER, (forget_declined, forget_restrictions, forget_nothing), strict=True)),
    erasure_statements.FORGET_INVITER: forget_inviter,
    # Nobody has anything of their own here.
    **dict.fromkeys(own_rows.STATEMENTS, lambda _database, _transaction, _args: [Row(gone=0)]),
}
