"""Searches in a million messages, by a user of few private rooms and by one of a thousand.

The messages are put into the log and into the index by COPY, with the terms that the product makes of them: words as
frequent as in a language, in public rooms and in private ones, over a year. They are found by the product's finder.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import uuid4

import asyncpg
from chats import Database, database
from machine import ALL_CORES

from parley.chat.consumers import store
from parley.chat.domain.encoding.compact import pack
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.messages import MessageSent
from parley.chat.log import database as chat_database
from parley.chat.search.finder import Finder, Search, SearchPage
from parley.chat.search.term_index import NAME, PART, PRIVATE_PART, PUBLIC, IndexedText, term_numbers
from parley.chat.search.terms import SEARCH_VERSION
from parley.common.errors import Reject
from parley.common.wire.identity import Identity

Row = dict[str, Any]

CALLS = 100
"""Searches of each kind. The first tenth is not counted."""
MOST_MS = 100.0
WORDS = 50_000
WORDS_OF_A_MESSAGE = 10
INSIDE = "inside"
"""A word that half of the messages of private rooms have, and no public one."""
AUTHORS = 500
PUBLIC_ROOMS, PRIVATE_ROOMS = range(1, 201), range(1_001, 2_001)
SAID_IN_PUBLIC = 0.6
USERS = {"of 20 private rooms": 20, "of 1,000 private rooms": len(PRIVATE_ROOMS)}
YEAR = timedelta(days=365)
AT_ONCE = 20_000

_ROOMS = """
INSERT INTO chat.rooms (room_id, head, messages, changed, member_count, created_at, name, kind, created_by)
SELECT room_id, max(sequence), count(*), 1, 1, now(), 'A room',
  CASE WHEN room_id < 1000 THEN 'public' ELSE 'private' END, 'u'
FROM chat.events GROUP BY room_id
"""
_MEMBERS = """
INSERT INTO chat.members (room_id, user_id, name, state, role, sequence)
SELECT room_id, $1, $1, 'joined', 'member', 1 FROM unnest($2::bigint[]) room_id
"""


def searches(messages: int) -> Iterator[Row]:
    """Fill a database, then search in it."""
    with tempfile.TemporaryDirectory() as directory, database(Path(directory) / "postgres", ALL_CORES) as base:
        begun = time.monotonic()
        asyncio.run(fill(base, messages))
        filled = round(time.monotonic() - begun)
        for row in asyncio.run(measure(base)):
            yield {"messages": messages, "filled_in_s": filled, **row}


class _Said(NamedTuple):
    """A message that is made up."""

    room: int
    sequence: int
    at: datetime
    author: str
    body: str


async def fill(base: Database, messages: int) -> None:
    """Put rooms and members, messages and their index into an empty database."""
    async with _connected(base) as connection:
        await connection.execute("SET synchronous_commit = off; DROP INDEX chat.search_terms_idx")
        parts: dict[int, list[list[Any]]] = {}
        said = _said(messages)
        while batch := list(itertools.islice(said, AT_ONCE)):
            await _copy(connection, "events", _EVENT, [_event(one) for one in batch])
            await _copy(connection, "search", _INDEXED, [_indexed(one, parts) for one in batch])
        rows = [(scope, *part) for scope, theirs in parts.items() for part in theirs]
        await _copy(connection, "search_parts", ("scope", "starts", "part", "latest", "messages"), rows)
        await connection.execute(_ROOMS)
        for user, rooms in USERS.items():
            await connection.execute(_MEMBERS, user, list(PRIVATE_ROOMS[:rooms]))
        await connection.execute("SET maintenance_work_mem = '256MB'")
        await connection.execute(
            "CREATE INDEX search_terms_idx ON chat.search USING gin (terms) WITH (fastupdate = off)"
        )
        await connection.execute("VACUUM ANALYZE")
        await store.register(connection, NAME, "message.*", beginning=True)
        await connection.execute("UPDATE chat.consumers SET position = $1", (await store.now(connection)).encode())


_EVENT = ("room_id", "sequence", "number", "event_id", "fingerprint", "type", "version", "actor_id", "command_id",
          "actor_name", "data", "recorded_at")  # fmt: skip
_INDEXED = ("room_id", "sequence", "text_sequence", "recorded_at", "version", "terms")


def _said(messages: int) -> Iterator[_Said]:
    pick = random.Random(1)
    words = [f"w{number}" for number in range(WORDS)]
    # As in languages: the second word is half as frequent as the first one, and so on.
    weights = list(itertools.accumulate(1 / (number + 1) for number in range(WORDS)))
    begun, heads = datetime.now(UTC) - YEAR, dict[int, int]()
    for number in range(messages):
        public = pick.random() < SAID_IN_PUBLIC
        room = pick.choice(PUBLIC_ROOMS if public else PRIVATE_ROOMS)
        heads[room] = heads.get(room, 0) + 1
        body = " ".join(pick.choices(words, cum_weights=weights, k=WORDS_OF_A_MESSAGE))
        if not public and pick.random() < 0.5:
            body += f" {INSIDE}"
        yield _Said(room, heads[room], begun + YEAR * (number / messages), f"u{pick.randrange(AUTHORS)}", body)


def _event(one: _Said) -> tuple[Any, ...]:
    return (
        one.room, one.sequence, one.sequence, uuid4(), 0, MessageSent.NUMBER, 1, pack(one.author), pack("c"),
        one.author, f'{{"body":"{one.body}"}}', one.at,
    )  # fmt: skip


def _indexed(one: _Said, parts: dict[int, list[list[Any]]]) -> tuple[Any, ...]:
    scope = PUBLIC if one.room in PUBLIC_ROOMS else one.room
    theirs = parts.setdefault(scope, [[datetime(1970, 1, 1, tzinfo=UTC), 0, one.at, 0]])
    if theirs[-1][3] >= (PART if scope == PUBLIC else PRIVATE_PART):
        theirs.append([one.at, len(theirs), one.at, 0])
    theirs[-1][2], theirs[-1][3] = one.at, theirs[-1][3] + 1
    text = IndexedText(one.room, one.sequence, one.sequence, one.at, one.author, one.body, files=False)
    return (one.room, one.sequence, one.sequence, one.at, SEARCH_VERSION, term_numbers(text, scope, theirs[-1][1]))


async def measure(base: Database) -> list[Row]:
    """Search in a filled database."""
    rows: list[Row] = []
    async with chat_database.connect(base.url, 4) as pool:
        finder = Finder(pool)
        for user in USERS:
            for kind, query in KINDS.items():
                rows.append({"user": user, "query": kind, **await _searched(finder, Identity(user, user), query)})
    return rows


async def _searched(finder: Finder, user: Identity, query: Callable[[random.Random], str]) -> Row:
    pick, times, found, refused, after = random.Random(2), list[float](), 0, 0, ""
    for number in range(CALLS + CALLS // 10):
        if number == CALLS // 10:
            times, found, refused = [], 0, 0
        asked = query(pick)
        begun = time.perf_counter()
        try:
            page = await finder.page(Search(asked, after=after), user)
        except Reject:
            refused += 1
            page = SearchPage([], more=False)
        times.append((time.perf_counter() - begun) * 1000)
        found += len(page.messages)
        after = (page.next or "") if asked == DEEP else ""
    times.sort()
    p99 = times[CALLS * 99 // 100]
    problems = [f"p99 of {p99:.0f} ms"] if p99 > MOST_MS else []
    return {
        "p50_ms": round(times[CALLS // 2], 1),
        "p99_ms": round(p99, 1),
        "max_ms": round(times[-1], 1),
        "found": round(found / CALLS, 1),
        "problems": [*problems, *([f"{refused} took too long and were refused"] if refused else [])],
    }


DEEP = "w1"


def _rare(pick: random.Random) -> str:
    return f"w{pick.randrange(5_000, WORDS)}"


def _known(pick: random.Random) -> str:
    return f"w{pick.randrange(100, 1_000)}"


def _common(pick: random.Random) -> str:
    return f"w{pick.randrange(5)}"


def _day(pick: random.Random) -> str:
    return str((datetime.now(UTC) - timedelta(days=pick.randrange(2, 360))).date())


def _month(pick: random.Random) -> str:
    day = datetime.now(UTC) - timedelta(days=pick.randrange(60, 300))
    return f"after:{day.date()} before:{(day + timedelta(days=31)).date()}"


KINDS: dict[str, Callable[[random.Random], str]] = {
    "a rare word": _rare,
    "a word of some": _known,
    "a common word": _common,
    "two common words": lambda pick: f"{_common(pick)} {_common(pick)}",
    "a rare, a known and a common one": lambda pick: f"{_rare(pick)} {_known(pick)} {_common(pick)}",
    "a phrase": lambda pick: f'"{_known(pick)} {_common(pick)}"',
    "a word that nobody said": lambda _pick: "nowhere",
    "from: and a common word": lambda pick: f"from:u{pick.randrange(AUTHORS)} {_common(pick)}",
    "in: a public room": lambda pick: f"{_known(pick)} in:{public_room_id(pick.choice(PUBLIC_ROOMS))}",
    "page after page": lambda _pick: DEEP,
    "a common word, before:": lambda pick: f"{_common(pick)} before:{_day(pick)}",
    "a known word, before:": lambda pick: f"{_known(pick)} before:{_day(pick)}",
    "one of private rooms alone": lambda _pick: INSIDE,
    "the same, before:": lambda pick: f"{INSIDE} before:{_day(pick)}",
    "a rare word of a month": lambda pick: f"{_rare(pick)} {_month(pick)}",
}


async def _copy(connection: Any, table: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    await connection.copy_records_to_table(table, schema_name="chat", records=rows, columns=columns)


@asynccontextmanager
async def _connected(base: Database) -> AsyncGenerator[Any]:
    connection = cast("Any", await asyncpg.connect(base.url))
    try:
        yield connection
    finally:
        await connection.close()
