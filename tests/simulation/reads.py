"""What the statements do that read the log: for gateways, and for who follows it in the order of its commits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from parley.chat.delivery import announcer
from parley.chat.log import leadership, tail
from parley.chat.notifications import inbox
from parley.chat.queries import history, members, rooms
from parley.chat.reading import read_store
from tests.simulation.database import Database, Statement
from tests.simulation.erasures import shown
from tests.simulation.tables import NO_EVENT, Row, Transaction

Args = tuple[Any, ...]

# -- how far users have read ---------------------------------------------------------------------------------------


def cursor_places(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    tables = database.tables
    found: list[Row] = []
    for ordinal, (user_id, room_id, sequence) in enumerate(zip(*args, strict=True), 1):
        if (room := tables.rooms.get(room_id)) is None:
            continue
        member = tables.members[room_id].get(user_id)
        read = tables.reads.get((room_id, user_id))
        if member is None or read is None or read["sequence"] < member["sequence"]:
            read = Row(sequence=None, number=None, marked_at=None)
        event = tables.events[room_id].get(sequence)
        found.append(
            Row(
                ordinal=ordinal, head=room["head"], messages=room["messages"], kind=room["kind"],
                state=member and member["state"], joined=member and member["sequence"],
                number=0 if event is None else event["number"], read=read["sequence"], read_number=read["number"],
                mentions=0, asked_at=database.clock(), marked_at=read["marked_at"],
            )
        )  # fmt: skip
    return found


async def advance_cursors(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    moved: list[Row] = []
    for room_id, user_id, sequence, number, said_at in sorted(zip(*args, strict=True)):
        await database.lock(("read", room_id, user_id), transaction)
        known = database.tables.reads.get((room_id, user_id))
        if known is None or _is_behind(known, sequence, said_at):
            marked_at = known["marked_at"] if known else None
            _put_cursor(database, transaction, room_id, user_id, sequence, number, marked_at)
            room = database.tables.rooms[room_id]
            about = {name: room[name] for name in ("changed", "member_count", "messages")}
            moved.append(
                Row(
                    room_id=room_id, user_id=user_id, sequence=sequence, number=number, read_at=said_at, **about,
                    private=False,
                )
            )  # fmt: skip
    return moved


def _is_behind(known: Row, sequence: int, said_at: datetime) -> bool:
    marked_at = known["marked_at"]
    return known["sequence"] < sequence and (marked_at is None or marked_at < said_at)


async def mark_cursor(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    await database.lock(("read", *args[:2]), transaction)
    room_id, user_id, sequence, number = args
    _put_cursor(database, transaction, room_id, user_id, sequence, number, database.clock())
    return []


def _put_cursor(
    database: Database, transaction: Transaction, room_id: int, user_id: str, sequence: int, number: int,
    marked_at: datetime | None,
) -> None:  # fmt: skip
    database.begin_writing(transaction)
    row = Row(sequence=sequence, number=number, marked_at=marked_at)
    transaction.writes.append(lambda tables: tables.reads.__setitem__((room_id, user_id), row))


# -- reads ---------------------------------------------------------------------------------------------------------


def replay(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    found: list[Row] = []
    for ordinal, (room_id, after, most) in enumerate(zip(*args[:3], strict=True), 1):
        room = database.tables.rooms.get(room_id)
        if room is None:
            continue
        sequences = sorted(one for one in database.tables.events[room_id] if one > after)[:most]
        rows = [database.tables.events[room_id][one] for one in sequences] or [NO_EVENT]
        found += [Row(shown(database.tables, row), ordinal=ordinal, head=room["head"]) for row in rows]
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


def no_inboxes(_database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    # Nobody is notified here.
    return []


# -- the tail, and who reads it ------------------------------------------------------------------------------------


def try_to_lead(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    holder = database.advisory.get(args)
    if holder is None or holder.gone:
        database.advisory[args] = transaction.session
    return [Row(led=database.advisory[args] is transaction.session)]


def log_state(database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    return [Row(incarnation=database.incarnation, mended=database.mended)]


def load_consumer(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [database.tables.consumers.get(args[0], Row(position="3:", batch=""))]


def save_consumer(database: Database, transaction: Transaction, args: Args) -> list[Row]:
    name, position, before, batch = args
    if database.tables.consumers.get(name, Row(batch=""))["batch"] != before:
        return []
    transaction.writes.append(_put_consumer(name, Row(position=position, batch=batch)))
    return [Row(saved=True)]


def unread_heads(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    running, following, below, partly_read, room_id, sequence, most, kinds = args
    found = [
        (event["transaction_id"], event["room_id"], event["sequence"])
        for events in database.tables.events.values()
        for event in events.values()
        if (number := event["transaction_id"]) in running or following <= number < below
        if number != partly_read or (event["room_id"], event["sequence"]) > (room_id, sequence)
    ]
    unread = sorted(found, key=lambda place: (place[0] != partly_read, place))[:most]
    page = [database.tables.events[room][place] for _, room, place in unread]
    moved = [event for event in page if event["type"] in kinds]
    heads: dict[int, int] = {}
    for event in page:
        heads[event["room_id"]] = max(event["sequence"], heads.get(event["room_id"], 0))
    last = unread[-1] if unread else (None, None, None)
    oldest = min((event["recorded_at"] for event in page), default=None)
    return [
        Row(
            snapshot=database.snapshot,
            incarnation=database.incarnation,
            mended=database.mended,
            transaction_offset=0,
            size=len(page),
            age=None if oldest is None else (database.clock() - oldest).total_seconds(),
            moved_rooms=[event["room_id"] for event in moved] or None,
            moved_sequences=[event["sequence"] for event in moved] or None,
            transaction_id=last[0],
            room_id=last[1],
            sequence=last[2],
            rooms=list(heads) or None,
            heads=list(heads.values()) or None,
        )
    ]


def named_events(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    tables = database.tables
    return [shown(tables, tables.events[room_id][sequence]) for room_id, sequence in sorted(zip(*args, strict=True))]


def summarize(_database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    return [Row(blocks=args[0])]


def _put_consumer(name: str, row: Row) -> Any:
    return lambda tables: tables.consumers.__setitem__(name, row)


STATEMENTS: dict[str, Statement] = {
    history._REPLAY: replay,
    members._ROOMS_OF: rooms_of,
    rooms._HEADS: heads,
    inbox._HEADS: no_inboxes,
    read_store._PLACES: cursor_places,
    read_store._ADVANCE: advance_cursors,
    read_store._MARK: mark_cursor,
    leadership._TRY: try_to_lead,
    announcer._STATE: log_state,
    announcer._LOAD: load_consumer,
    announcer._SAVE: save_consumer,
    tail._HEADS: unread_heads,
    tail._NAMED: named_events,
    "SELECT chat.summarize_tail($1)": summarize,
}
