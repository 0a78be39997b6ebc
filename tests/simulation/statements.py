"""What the log's statements do to the double's tables; `database` says when each sees what."""

from __future__ import annotations

from typing import Any

import asyncpg

from parley.chat.log import event_store
from parley.chat.queries import history, members, rooms, tail
from tests.simulation.database import Database, Row, Statement, Tables, Transaction

ROOM = tuple(name.strip() for name in event_store._ROOM.split(","))
MEMBER = tuple(name.strip() for name in event_store._MEMBER.split(","))
EVENT = (
    "room_id", "sequence", "number", "event_id", "type", "version", "actor_id", "actor_name", "command_id",
    "fingerprint", "data", "recorded_at",
)  # fmt: skip
POISON = "poison"
"""A text that cannot be stored."""
_NO_EVENT = Row(dict.fromkeys(EVENT))
Args = tuple[Any, ...]


def read_secret(database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    return [Row(room_secret=database.secret)]


# -- under the rooms' locks ----------------------------------------------------------------------------------------


def _concerned(tables: Tables, args: Args) -> list[int]:
    wanted, *columns = args
    asks = list(zip(*columns, strict=True))
    found: list[int] = []
    for room_id in wanted:
        room = tables.rooms.get(room_id)
        if room is not None and (
            room["kind"] == "public"
            or any(
                asked == room_id
                and (
                    anyway
                    or actor in tables.members[room_id]
                    or (room_id, key) in tables.by_id
                    or (room_id, key) in tables.commands
                )
                for asked, actor, key, anyway in asks
            )
        ):
            found.append(room_id)
    return found


async def lock_rooms(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    found = _concerned(database.tables, args)
    for room_id in found:
        await database.lock(room_id, transaction)
    return [database.tables.rooms[room_id] for room_id in found]


async def lock_free_rooms(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    found = [room_id for room_id in _concerned(database.tables, args) if database.is_free(room_id, transaction)]
    for room_id in found:
        await database.lock(room_id, transaction)
    return [database.tables.rooms[room_id] for room_id in found]


def existing_rooms(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [Row(room_id=room_id) for room_id in _concerned(database.tables, args)]


def load_earlier(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    tables, now = database.tables, database.clock()
    found: list[Row] = []
    for ordinal, place in enumerate(zip(*args, strict=True), 1):
        event = tables.by_id.get(place, _NO_EVENT)
        command = tables.commands.get(place)
        found.append(
            Row(
                event,
                ordinal=ordinal,
                now=now,
                unchanged=command and command["sequence"],
                unchanged_by=command and command["fingerprint"],
            )
        )
    return found


def load_members(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [
        Row(room_id=room_id, **member)
        for room_id, user_id in zip(*args, strict=True)
        if (member := database.tables.members[room_id].get(user_id)) is not None
    ]


def load_eldest(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    found: list[Row] = []
    for room_id, most in zip(*args, strict=True):
        joined = [one for one in database.tables.members[room_id].values() if one["state"] == "joined"]
        joined.sort(key=lambda one: one["sequence"])
        found += [Row(room_id=room_id, **member) for member in joined[:most]]
    return found


def count_rooms(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    tables = database.tables
    return [
        Row(
            user_id=user_id,
            joined=sum(
                not tables.rooms[room_id]["archived"]
                for room_id, places in tables.members.items()
                if user_id in places and places[user_id]["state"] == "joined"
            ),
        )
        for user_id in args[0]
    ]


def count_invitations(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [
        Row(
            room_id=room_id,
            user_id=user_id,
            waiting=sum(
                one["invited_by"] == user_id and one["state"] == "invited"
                for one in database.tables.members[room_id].values()
            ),
        )
        for room_id, user_id in zip(*args, strict=True)
    ]


async def create_rooms(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for values in zip(*args, strict=True):
        row = Row(zip(ROOM, values, strict=True))
        await database.claim_room(row["room_id"], transaction)
        transaction.writes.append(_put_room(row))
    return []


def append(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    _append_events(database, transaction, [Row(zip(EVENT, one, strict=True)) for one in zip(*args[:12], strict=True)])
    for room_id, head, messages, changed, archived, member_count in zip(*args[12:], strict=True):
        transaction.writes.append(
            _change_room(
                room_id,
                {"head": head, "messages": messages, "changed": changed, "archived": archived,
                 "member_count": member_count},
            )
        )  # fmt: skip
    return []


def put_members(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for room_id, *values in zip(*args, strict=True):
        transaction.writes.append(_put_member(room_id, Row(zip(MEMBER, values, strict=True))))
    return []


def remove_members(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for room_id, user_id in zip(*args, strict=True):
        transaction.writes.append(_remove_member(room_id, user_id))
    return []


def remember(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for room_id, key, fingerprint, sequence in zip(*args, strict=True):
        transaction.writes.append(_remember(room_id, key, Row(fingerprint=fingerprint, sequence=sequence)))
    return []


# -- the one statement ---------------------------------------------------------------------------------------------


def recall(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    tables = database.tables
    # Both have a column of the same name, which asyncpg keeps apart by place.
    return [
        Row([*tables.rooms[room_id].items(), *((f"m_{name}", value) for name, value in member.items())])
        for room_id, user_id in zip(*args, strict=True)
        if room_id in tables.rooms and (member := tables.members[room_id].get(user_id)) is not None
    ]


async def append_known(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    return await _append_at_once(database, transaction, args, wait=True)


async def append_free(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    return await _append_at_once(database, transaction, args, wait=False)


async def _append_at_once(database: Database, transaction: Transaction, args: Args, *, wait: bool) -> list[Row]:
    ids, changed, added, messages, *columns = args
    events = list(zip(*columns, strict=True))
    tables = database.tables
    resent = [ordinal for ordinal, one in enumerate(events, 1) if (one[0], one[3]) in tables.by_id]
    if resent:
        return [_taken([], [], [], database, resent)]
    known = dict(zip(ids, changed, strict=True))
    # As they were when the statement began; a room is looked at again when its lock was waited for.
    matching = [
        room_id for room_id in ids if room_id in tables.rooms and tables.rooms[room_id]["changed"] == known[room_id]
    ]
    ready: list[int] = []
    for room_id in matching:
        if wait or database.is_free(room_id, transaction):
            await database.lock(room_id, transaction)
            if tables.rooms[room_id]["changed"] == known[room_id]:
                ready.append(room_id)
    heads = {room_id: tables.rooms[room_id]["head"] for room_id in ready}
    numbers = {room_id: tables.rooms[room_id]["messages"] for room_id in ready}
    now = database.clock()
    rows: list[Row] = []
    for room_id, ordinal, number, event_id, *rest in events:
        if room_id in heads:
            values = (room_id, heads[room_id] + ordinal, numbers[room_id] + number, event_id, *rest, now)
            rows.append(Row(zip(EVENT, values, strict=True)))
    _append_events(database, transaction, rows)
    for room_id, more, said in zip(ids, added, messages, strict=True):
        if room_id in heads:
            change = {"head": heads[room_id] + more, "messages": numbers[room_id] + said}
            transaction.writes.append(_change_room(room_id, change))
    return [_taken(ready, list(heads.values()), list(numbers.values()), database, [])]


def _taken(ready: list[int], heads: list[int], numbers: list[int], database: Database, resent: list[int]) -> Row:
    return Row(rooms=ready, heads=heads, messages=numbers, now=database.clock(), resent=resent)


# -- reads ---------------------------------------------------------------------------------------------------------


def replay(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    found: list[Row] = []
    for ordinal, (room_id, after, most) in enumerate(zip(*args[:3], strict=True), 1):
        room = database.tables.rooms.get(room_id)
        if room is None:
            continue
        sequences = sorted(one for one in database.tables.events[room_id] if one > after)[:most]
        rows = [database.tables.events[room_id][one] for one in sequences] or [_NO_EVENT]
        found += [Row(row, ordinal=ordinal, head=room["head"]) for row in rows]
    return found


def rooms_of(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    users, tables = set(args[0]), database.tables
    return [
        Row(user_id=user_id, room_id=room_id, head=tables.rooms[room_id]["head"], sequence=member["sequence"])
        for room_id, places in tables.members.items()
        for user_id, member in places.items()
        if user_id in users and member["state"] == "joined"
    ]


def heads(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    tables = database.tables.rooms
    return [Row(room_id=room_id, head=tables[room_id]["head"]) for room_id in args[0] if room_id in tables]


def moved_since(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    position, seconds, _most = args
    oldest = database.clock().timestamp() - seconds
    common = {"position": database.xmin, "incarnation": database.incarnation}
    found: list[Row] = []
    for room_id, events in database.tables.events.items():
        recent = [
            sequence
            for sequence, event in events.items()
            if event["transaction_id"] >= position and event["recorded_at"].timestamp() > oldest
        ]
        if recent:
            found.append(Row(common, room_id=room_id, head=max(recent)))
    return found or [Row(common, room_id=None, head=None)]


# -- writes, as they are done at the commit ------------------------------------------------------------------------


def _append_events(database: Database, transaction: Transaction, rows: list[Row]) -> None:
    tables = database.tables
    seen: set[Any] = set()
    for row in rows:
        room_id, sequence, event_id = row["room_id"], row["sequence"], row["event_id"]
        if (
            sequence in tables.events[room_id]
            or (room_id, event_id) in tables.by_id
            or (room_id, event_id) in seen
            or (room_id, sequence) in seen
        ):
            raise asyncpg.UniqueViolationError("duplicate key value violates unique constraint of events")
        seen |= {(room_id, event_id), (room_id, sequence)}
        if POISON in row["data"]:
            raise asyncpg.UntranslatableCharacterError("what the domain lets through and Postgres does not")
        row["transaction_id"] = database.begin_writing(transaction)
    if rows:
        transaction.writes.append(_put_events(rows))


def _put_events(rows: list[Row]) -> Any:
    def write(tables: Tables) -> None:
        for row in rows:
            tables.events[row["room_id"]][row["sequence"]] = row
            tables.by_id[row["room_id"], row["event_id"]] = row

    return write


def _put_room(row: Row) -> Any:
    return lambda tables: tables.rooms.__setitem__(row["room_id"], row)


def _change_room(room_id: int, change: dict[str, Any]) -> Any:
    return lambda tables: tables.rooms.__setitem__(room_id, Row(tables.rooms[room_id], **change))


def _put_member(room_id: int, row: Row) -> Any:
    return lambda tables: tables.members[room_id].__setitem__(row["user_id"], row)


def _remove_member(room_id: int, user_id: str) -> Any:
    return lambda tables: tables.members[room_id].pop(user_id, None)


def _remember(room_id: int, key: Any, row: Row) -> Any:
    return lambda tables: tables.commands.setdefault((room_id, key), row)


STATEMENTS: dict[str, Statement] = {
    "SELECT room_secret FROM chat.log": read_secret,
    event_store._LOCK_ROOMS: lock_rooms,
    event_store._LOCK_FREE_ROOMS: lock_free_rooms,
    event_store._EXISTING_ROOMS: existing_rooms,
    event_store._LOAD_EARLIER: load_earlier,
    event_store._LOAD_MEMBERS: load_members,
    event_store._LOAD_ELDEST: load_eldest,
    event_store._COUNT_ROOMS: count_rooms,
    event_store._COUNT_INVITATIONS: count_invitations,
    event_store._CREATE_ROOMS: create_rooms,
    event_store._APPEND: append,
    event_store._PUT_MEMBERS: put_members,
    event_store._REMOVE_MEMBERS: remove_members,
    event_store._REMEMBER: remember,
    event_store._RECALL: recall,
    event_store._APPEND_KNOWN: append_known,
    event_store._APPEND_FREE: append_free,
    history._REPLAY: replay,
    members._ROOMS_OF: rooms_of,
    rooms._HEADS: heads,
    tail._TAIL: moved_since,
}
