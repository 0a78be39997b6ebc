"""What the statements do that are about what became of messages, and about who is muted or banned."""

from __future__ import annotations

import json
from typing import Any

from parley.chat.domain.encoding.event_codec import ERASED
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.messages.rows import FOLLOWER_COLUMNS, MESSAGE_COLUMNS, REACTION_COLUMNS
from parley.chat.domain.projectors import RESTRICTION_COLUMNS
from parley.chat.log import statements
from parley.chat.log.messages import message_rows
from parley.chat.log.messages import message_statements as sql
from tests.simulation.database import Database, Statement
from tests.simulation.erasures import shown
from tests.simulation.tables import Row, Tables, Transaction

Args = tuple[Any, ...]
STATE = list(MESSAGE_COLUMNS)[2:]
RESTRICTION = list(RESTRICTION_COLUMNS)[1:]

# -- loaded under the rooms' locks ---------------------------------------------------------------------------------


def load_messages(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    tables = database.tables
    found: list[Row] = []
    for room_id, sequence in zip(*args, strict=True):
        event = tables.events[room_id].get(sequence)
        if event is None or event["type"] != MessageSent.NUMBER:
            continue
        erased = event["version"] == ERASED or shown(tables, event)["hidden"]
        thread = json.loads(event["data"]).get("thread")
        place = Row(room_id=room_id, sequence=sequence, actor_id=event["actor_id"], thread=thread, erased=erased)
        state = tables.messages.get((room_id, sequence))
        found.append(Row(place, **{f"state_{name}": state and state[name] for name in STATE}))
    return found


def load_reactions(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    wanted = set(zip(*args, strict=True))
    return [row for place, row in database.tables.reactions.items() if place[:3] in wanted]


def load_following(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    followers = database.tables.followers
    return [followers[place] for place in zip(*args, strict=True) if place in followers]


def count_pins(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    messages = database.tables.messages
    return [
        Row(
            room_id=room_id,
            pinned=sum(of == room_id and row["pinned_in"] is not None for (of, _), row in messages.items()),
        )
        for room_id in args[0]
    ]


def texts_of(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    found: list[Row] = []
    for room_id, _, last in zip(*args, strict=True):
        edit = last
        while edit is not None:
            found.append(Row(room_id=room_id, sequence=edit))
            edit = json.loads(database.tables.events[room_id][edit]["data"]).get("previous")
    return found


def last_edit(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    row = database.tables.messages.get(args)
    return [] if row is None else [Row(edited_in=row["edited_in"])]


def load_restrictions(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    held = database.tables.restrictions
    return [held[place] for place in zip(*args, strict=True) if place in held]


def count_restricted(database: Database, _transaction: Transaction, args: Args) -> list[Row]:
    held = database.tables.restrictions
    return [Row(room_id=room_id, restricted=sum(of == room_id for of, _ in held)) for room_id in args[0]]


def load_nothing(_database: Database, _transaction: Transaction, _args: Args) -> list[Row]:
    return []


# -- stored --------------------------------------------------------------------------------------------------------


def put(table: str, columns: list[str], key: int) -> Statement:
    """A statement that puts rows, of which the first columns are the key."""

    def statement(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
        for values in zip(*args, strict=True):
            transaction.writes.append(_put(table, values[:key], Row(zip(columns, values, strict=True))))
        return []

    return statement


def remove(table: str) -> Statement:
    """A statement that removes rows by their keys, or all whose keys begin so."""

    def statement(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
        for place in zip(*args, strict=True):
            transaction.writes.append(_remove(table, place))
        return []

    return statement


def remove_followed_since(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for room_id, thread, user_id, since in zip(*args, strict=True):
        transaction.writes.append(_unfollow((room_id, thread, user_id), since))
    return []


def delete_texts(_database: Database, transaction: Transaction, args: Args) -> list[Row]:
    for room_id, sequence in zip(*args, strict=True):
        transaction.writes.append(_delete_text(room_id, sequence))
    return []


def _put(table: str, key: tuple[Any, ...], row: Row) -> Any:
    return lambda tables: getattr(tables, table).__setitem__(key, row)


def _remove(table: str, key: tuple[Any, ...]) -> Any:
    def write(tables: Tables) -> None:
        rows: dict[Any, Row] = getattr(tables, table)
        for place in [place for place in rows if place[: len(key)] == key]:
            del rows[place]

    return write


def _unfollow(place: tuple[int, int, str], since: int) -> Any:
    def write(tables: Tables) -> None:
        if (row := tables.followers.get(place)) is not None and row["since"] == since:
            del tables.followers[place]

    return write


def _delete_text(room_id: int, sequence: int) -> Any:
    def write(tables: Tables) -> None:
        event = tables.events[room_id][sequence]
        thread = json.loads(event["data"]).get("thread") if event["type"] == MessageSent.NUMBER else None
        data = "{}" if thread is None else json.dumps({"thread": thread}, separators=(",", ":"))
        row = Row(event, version=ERASED, command_id=b"", fingerprint=0, data=data)
        tables.events[room_id][sequence] = row
        tables.by_id[room_id, row["event_id"]] = row

    return write


STATEMENTS: dict[str, Statement] = {
    sql.LOAD_MESSAGES: load_messages,
    sql.LOAD_REACTIONS: load_reactions,
    sql.LOAD_FOLLOWING: load_following,
    sql.COUNT_PINS: count_pins,
    sql.TEXTS_OF: texts_of,
    sql.PUT_MESSAGES: put("messages", list(MESSAGE_COLUMNS), 2),
    sql.REMOVE_MESSAGES: remove("messages"),
    sql.PUT_REACTIONS: put("reactions", list(REACTION_COLUMNS), 4),
    sql.REMOVE_REACTIONS: remove("reactions"),
    sql.CLEAR_REACTIONS: remove("reactions"),
    sql.PUT_REPLIES: put("replies", ["room_id", "thread", "sequence"], 3),
    sql.PUT_FOLLOWERS: put("followers", list(FOLLOWER_COLUMNS), 3),
    sql.REMOVE_FOLLOWED_SINCE: remove_followed_since,
    sql.DELETE_TEXTS: delete_texts,
    message_rows._LAST_EDIT: last_edit,
    statements.LOAD_RESTRICTIONS: load_restrictions,
    statements.COUNT_RESTRICTED: count_restricted,
    statements.PUT_RESTRICTIONS: put("restrictions", list(RESTRICTION_COLUMNS), 2),
    statements.REMOVE_RESTRICTIONS: remove("restrictions"),
    statements.LOAD_INVITES: load_nothing,
}
