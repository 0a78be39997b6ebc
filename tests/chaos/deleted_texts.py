"""Looks for texts that were deleted: in every row of every table of chat, in its index, and by searching for them."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

import asyncpg

from tests.chaos.history import History, Texts
from tests.chaos.present import messages_of

SEARCHED = 40
"""Texts of each sort that are searched for."""
INDEXING_SECONDS = 20.0
"""For the index to come to the end of the log."""
_INDEXED = """
SELECT count(*) FROM chat.search s JOIN chat.events e ON (e.room_id, e.sequence) = (s.room_id, s.sequence)
WHERE e.version = 0
"""
Search = Callable[[str, str], Awaitable[bool]]
"""Whether a room's owner finds a text."""


def deleted_texts(history: History) -> dict[str, str]:
    """All texts that a message had which is deleted by the log, and its room."""
    deleted = {
        (name, event.data["message"])
        for name, room in history.rooms.items()
        for event in room.log
        if event.type == "message.deleted"
    }
    texts: dict[str, str] = {}
    for command in history.commands.values():
        if command.event not in {"message.send", "message.edit"}:
            continue
        for answer in history.answers.get(command.id, ()):
            message = command.message or answer.sequence
            if answer.ok and (command.room, message) in deleted:
                texts[command.body] = command.room
    return texts


def present_texts(history: History) -> dict[str, str]:
    """The texts of all other messages, and their rooms."""
    return {
        message.body: name
        for name, room in history.rooms.items()
        for message in messages_of(room.log).values()
        if not message.deleted and message.body
    }


async def looked_for(history: History, database_url: str, search: Search, dice: random.Random) -> Texts:
    """Look for all deleted texts, and search for some of them and some of those that are there."""
    deleted, present = deleted_texts(history), present_texts(history)
    left: defaultdict[str, list[str]] = defaultdict(list)
    for text, table in await _stored(database_url, deleted.keys()):
        left[text].append(table)
    sought = dice.sample(sorted(present.items()), min(SEARCHED, len(present)))
    missed = [text for text, room in sought if not await _in_time(search, text, room)]
    for text, room in dice.sample(sorted(deleted.items()), min(SEARCHED, len(deleted))):
        if await search(text, room):
            left[text].append("what is searched")
    return Texts(len(deleted), left, len(sought), missed)


async def _in_time(search: Search, text: str, room: str) -> bool:
    try:
        async with asyncio.timeout(INDEXING_SECONDS):
            while not await search(text, room):
                await asyncio.sleep(0.2)
    except TimeoutError:
        return False
    return True


async def _stored(database_url: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    """Each of these texts that some row has, with the table."""
    found: list[tuple[str, str]] = []
    wanted = sorted(texts)
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'chat' AND c.relkind = 'r' ORDER BY 1"
        )
        for (name,) in tables:
            # Texts are 32 hexadecimal digits, so each is found as what it is.
            statement = (
                f"SELECT DISTINCT m.found[1] FROM {name} t "
                "CROSS JOIN LATERAL regexp_matches(t::text, '[0-9a-f]{32}', 'g') AS m(found) "
                "WHERE m.found[1] = ANY($1::text[])"
            )
            found += [(text, name) for (text,) in await connection.fetch(statement, wanted)]
        if indexed := await connection.fetchval(_INDEXED):
            found.append((f"{indexed} of those that are deleted", "chat.search"))
    finally:
        await connection.close()
    return found
