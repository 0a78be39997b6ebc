"""What the log's statements do to the double's tables; `database` says when each sees what."""

from __future__ import annotations

from typing import Any

import asyncpg

from parley.chat.domain.encoding.event_codec import ERASED
from parley.chat.log import statements
from parley.chat.log.erasure import erasure_statements
from tests.simulation import erasures, messages, reads
from tests.simulation.database import Database, Statement
from tests.simulation.erasures import open_erasures, shown, shown_room
from tests.simulation.tables import EVENT, NO_EVENT, Row, Tables, Transaction

ROOM = tuple(name.strip() for name in statements.ROOM.split(","))
CHANGING = tuple(name for name in statements.CHANGING if name != "room_id")
MEMBER = tuple(name.strip() for name in statements.MEMBER.split(","))
RESTRICTION = tuple(name.strip() for name in statements.RESTRICTION.split(","))
POISON = "poison"
"""A text that cannot be stored."""
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
    await database.pass_gate(transaction, transaction.session.lock_seconds, alone=False)
    found = _concerned(database.tables, args)
    for room_id in found:
        await database.lock(room_id, transaction)
    return [shown_room(database.tables, room_id) for room_id in found]


async def lock_free_rooms(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    await database.pass_gate(transaction, transaction.session.lock_seconds, alone=False)
    found = [room_id for room_id in _concerned(database.tables, args) if database.is_free(room_id, transaction)]
    for room_id in found:
        await database.lock(room_id, transaction)
    return [shown_room(database.tables, room_id) for room_id in found]


def existing_rooms(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [Row(room_id=room_id) for room_id in _concerned(database.tables, args)]


def load_earlier(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    tables, now = database.tables, database.clock()
    found: list[Row] = []
    for ordinal, place in enumerate(zip(*args, strict=True), 1):
        command = tables.commands.get(place)
        more = {
            "ordinal": ordinal,
            "now": now,
            "unchanged": command and command["sequence"],
            "unchanged_by": command and command["fingerprint"],
        }
        found += [Row(shown(tables, event), **more) for event in _led_to(tables, place) or [NO_EVENT]]
    return found


def _led_to(tables: Tables, place: tuple[int, Any]) -> list[Row]:
    """The events of a command, which stand side by side. One that is erased does not say of which it was."""
    events: list[Row] = []
    one = first = tables.by_id.get(place)
    if first is not None and first["version"] == ERASED:
        return [first]
    while one is not None and first is not None and _command(one) == _command(first):
        events.append(one)
        one = tables.events[place[0]].get(one["sequence"] + 1)
    return events


def _command(event: Row) -> tuple[Any, Any]:
    return event["actor_id"], event["command_id"]


def erasing(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [
        Row(ordinal=ordinal, room=False)
        for ordinal, (_, actor, named) in enumerate(zip(*args, strict=True), 1)
        for one in open_erasures(database.tables)
        if one["user_id"] is not None and one["user_id"] in (actor, named)
    ]


def load_members(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [
        Row(room_id=room_id, **member)
        for room_id, user_id in zip(*args, strict=True)
        if (member := database.tables.members[room_id].get(user_id)) is not None
    ]


def load_nothing(_database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    return []


def load_declined(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    declined = database.tables.declined
    return [
        Row(room_id=room_id, user_id=user_id, declined_at=declined[room_id, user_id])
        for room_id, user_id in zip(*args, strict=True)
        if (room_id, user_id) in declined
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
    for room_id, *values in zip(*args[12:], strict=True):
        transaction.writes.append(_change_room(room_id, dict(zip(CHANGING, values, strict=True))))
    return []


def put_members(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for room_id, *values in zip(*args, strict=True):
        transaction.writes.append(_put_member(room_id, Row(zip(MEMBER, values, strict=True))))
    return []


def remove_members(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for room_id, user_id in zip(*args, strict=True):
        transaction.writes.append(_remove_member(room_id, user_id))
    return []


def put_declined(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for room_id, user_id, at in zip(*args, strict=True):
        transaction.writes.append(_decline(room_id, user_id, at))
    return []


def remember(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for room_id, key, fingerprint, sequence in zip(*args, strict=True):
        transaction.writes.append(_remember(room_id, key, Row(fingerprint=fingerprint, sequence=sequence)))
    return []


# -- the one statement ---------------------------------------------------------------------------------------------


def recall(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    tables = database.tables
    # Both have a column of the same name, which asyncpg keeps apart by place.
    found: list[Row] = []
    for room_id, user_id in zip(*args, strict=True):
        if room_id in tables.rooms and (member := tables.members[room_id].get(user_id)) is not None:
            own = tables.restrictions.get((room_id, user_id))
            found.append(
                Row([
                    *tables.rooms[room_id].items(), *((f"m_{name}", value) for name, value in member.items()),
                    *((f"own_{name}", own and own[name]) for name in RESTRICTION), ("people", None),
                ])
            )  # fmt: skip
    return found


async def append_known(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    return await _append_at_once(database, transaction, args, wait=True)


async def append_free(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    return await _append_at_once(database, transaction, args, wait=False)


async def _append_at_once(database: Database, transaction: Transaction, args: Args, *, wait: bool) -> list[Row]:
    ids, changed, added, messages, events = args[:5]
    tables = database.tables
    resent = [
        ordinal
        for ordinal, one in enumerate(events, 1)
        if (one[0], one[3]) in tables.by_id or (one[0], one[3]) in tables.commands
    ]
    if resent:
        return [_taken([], [], [], database, resent)]
    known = dict(zip(ids, changed, strict=True))
    # As they were when the statement began; a room is looked at again when its lock was waited for.
    matching = {
        room_id: room
        for room_id in ids
        if (room := tables.rooms.get(room_id)) is not None and _unchanged(room, known[room_id])
    }
    for room_id, _, _, _, _, _, actor_id, *_ in events:
        if any(actor_id == one["actor_id"] for one in open_erasures(tables)):
            matching.pop(room_id, None)
    ready: dict[int, Row] = {}
    for room_id, before in matching.items():
        if wait or database.is_free(room_id, transaction):
            await database.lock(room_id, transaction)
            room = _under_lock(tables.rooms[room_id], before)
            if _still_unchanged(room, known[room_id]):
                ready[room_id] = room
    heads = {room_id: room["head"] for room_id, room in ready.items()}
    numbers = {room_id: room["messages"] for room_id, room in ready.items()}
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
    return [_taken(list(ready), list(heads.values()), list(numbers.values()), database, [])]


# What the statement relies on, each by itself so that it can be planted wrong.


def _unchanged(room: Row, changed: int) -> bool:
    return room["changed"] == changed


def _still_unchanged(room: Row, changed: int) -> bool:
    return room["changed"] == changed


def _under_lock(now: Row, _before: Row) -> Row:
    return now


def _taken(ready: list[int], heads: list[int], numbers: list[int], database: Database, resent: list[int]) -> Row:
    return Row(rooms=ready, heads=heads, messages=numbers, now=database.clock(), resent=resent)


def notify(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    room_id, event_id, number, version, command_id, data = args
    room = database.tables.rooms[room_id]
    head = room["head"] + 1
    values = (
        room_id,
        head,
        room["messages"],
        event_id,
        number,
        version,
        b"",
        "",
        command_id,
        0,
        data,
        database.clock(),
    )
    _append_events(database, transaction, [Row(zip(EVENT, values, strict=True))])
    transaction.writes.append(_change_room(room_id, {"head": head}))
    return []


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


def _decline(room_id: int, user_id: str, at: Any) -> Any:
    return lambda tables: tables.declined.__setitem__((room_id, user_id), at)


def _remember(room_id: int, key: Any, row: Row) -> Any:
    return lambda tables: tables.commands.setdefault((room_id, key), row)


STATEMENTS: dict[str, Statement] = {
    "SELECT room_secret FROM chat.log": read_secret,
    statements.LOCK_ROOMS: lock_rooms,
    statements.LOCK_FREE_ROOMS: lock_free_rooms,
    statements.EXISTING_ROOMS: existing_rooms,
    statements.LOAD_EARLIER: load_earlier,
    statements.ERASING: erasing,
    statements.LOAD_MEMBERS: load_members,
    statements.LOAD_BLOCKS: load_nothing,
    statements.LOAD_ELDEST: load_eldest,
    statements.LOAD_DECLINED: load_declined,
    statements.PUT_DECLINED: put_declined,
    statements.COUNT_ROOMS: count_rooms,
    statements.COUNT_INVITATIONS: count_invitations,
    statements.CREATE_ROOMS: create_rooms,
    statements.APPEND: append,
    statements.PUT_MEMBERS: put_members,
    statements.REMOVE_MEMBERS: remove_members,
    statements.REMEMBER: remember,
    statements.RECALL: recall,
    statements.APPEND_KNOWN: append_known,
    statements.APPEND_FREE: append_free,
    erasure_statements.NOTIFY: notify,
    **reads.STATEMENTS,
    **erasures.STATEMENTS,
    **messages.STATEMENTS,
}
