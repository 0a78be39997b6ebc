"""What single users ask of chat where there is much: a list of a thousand rooms, and a room of five thousand members.

Chat runs in this process, without gateways (`inside.py`), on a Postgres of its own. A time is from the command to its
ack; CPU is that of this process, so of chat and of what asks it, and that of Postgres. What is done in a room of five
thousand is done in one of five hundred as well: what costs more with each member would cost ten times as much.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid4, uuid5

import asyncpg
from chats import Database, database
from inside import Chat, chat
from machine import ALL_CORES, BenchError, child, cpu_seconds

Row = dict[str, Any]

ROOMS = 1_000
"""Rooms that one user is in. That many they may be in."""
UNREAD = sum(number % 2 == 0 or number % 3 == 0 for number in range(ROOMS))
"""Those of them in which something is unread (`_talked_in`)."""
PAGE = 100
"""Rooms of a page of the list."""
MEMBERS = 200
"""Members of a page."""
LIST_MS = 20.0
"""Milliseconds that a page of the list may take, and what is unread in all rooms, in one call."""
SIZES = (500, 5_000)
TIMES = 3.0
"""Times as much as in the small room that something may take in the large one, where it should take as much."""
CALLS = 200
MENTIONS = 5
AT_ONCE = 100
PATIENCE = 120.0

# All notifications of a message are one commit, so that those of one user tell of all.
_NOTIFIED = "SELECT coalesce((SELECT head FROM chat.inboxes WHERE user_id = $1), 0)"


def domain() -> Iterator[Row]:
    """Lists of rooms, and rooms of two sizes."""
    with tempfile.TemporaryDirectory() as directory, database(Path(directory) / "postgres", ALL_CORES) as base:
        yield from asyncio.run(_lists(base))
    found: list[Row] = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as directory, database(Path(directory) / "postgres", ALL_CORES) as base:
            found += asyncio.run(_large_room(base, size))
    yield from _compared(found)


def user_of(number: int) -> str:
    """A user with an id as long as those of most user tables."""
    return str(uuid5(NAMESPACE_URL, f"member{number}"))


async def _lists(base: Database) -> list[Row]:
    """What a user of a thousand rooms waits for."""
    me, other = user_of(0), user_of(1)
    async with chat(base.url, {me, other}) as running:
        for first in range(0, ROOMS, AT_ONCE):
            await asyncio.gather(*(_talked_in(running, me, other, first + number) for number in range(AT_ONCE)))
        await _until_stored(running, me)
        await _execute(base, "ANALYZE")

        async def unread(_number: int) -> None:
            answer = await running.ask(me, "unread", {})
            if answer["more"] or len(answer["rooms"]) != ROOMS:
                raise BenchError(f"{len(answer['rooms'])} of {ROOMS} rooms were counted")

        async def page(_number: int) -> None:
            answer = await running.ask(me, "rooms", {"limit": PAGE})
            if len(answer["rooms"]) != PAGE or not all("unread" in room for room in answer["rooms"]):
                raise BenchError("a page of rooms is not full")

        async def everything(_number: int) -> None:
            after, seen = {}, 0
            while after is not None:
                answer = await running.ask(me, "rooms", {"limit": ROOMS, **after})
                seen += len(answer["rooms"])
                after = {"after": answer["next"]} if answer["more"] else None
            if seen != ROOMS:
                raise BenchError(f"{seen} of {ROOMS} rooms were listed")

        bounded = [
            await _timed(f"unread of {ROOMS:,} rooms, one call", CALLS, unread),
            await _timed(f"the first {PAGE} of {ROOMS:,} rooms", CALLS, page),
        ]
        for row in bounded:
            if row["p50_ms"] > LIST_MS:
                row["problems"].append(f"more than {LIST_MS:g} ms")
        return [*bounded, await _timed(f"all {ROOMS:,} rooms, as many a call as fit", CALLS // 10, everything)]


async def _until_stored(running: Chat, me: str) -> None:
    """Wait until what is read is stored, so that all of the rest is counted as unread. Raises `BenchError`."""
    deadline = time.monotonic() + PATIENCE
    while sum(room["unread"] > 0 for room in (await running.ask(me, "unread", {}))["rooms"]) != UNREAD:
        if time.monotonic() > deadline:
            raise BenchError("other rooms are unread than those in which something was said")
        await asyncio.sleep(0.1)


async def _talked_in(running: Chat, me: str, other: str, number: int) -> None:
    room = await running.create_room(me, f"Room {number}")
    await running.ask(other, "room.join", {"id": str(uuid4()), "room": room})
    for _ in range(3):
        sequence = await running.send(other, room, "x" * 90)
        if number % 2:
            await running.ask(me, "read", {"room": room, "sequence": sequence})
    if number % 3 == 0:
        await running.send(me, room, "x" * 90)
        mention = {"id": str(uuid4()), "room": room, "body": "x" * 90, "mentions": [me]}
        await running.ask(other, "message.send", mention)


async def _large_room(base: Database, size: int) -> list[Row]:
    """A room fills, and then is used."""
    users = [user_of(number) for number in range(size)]
    async with chat(base.url, set(users)) as running:
        room = await running.create_room(users[0], "Everybody")

        async def join(number: int) -> None:
            await running.ask(users[number], "room.join", {"id": str(uuid4()), "room": room})

        async def send(_number: int) -> None:
            await running.send(users[0], room, "x" * 90)

        async def members(_number: int) -> None:
            await running.members(users[0], room, users[size // 2], MEMBERS)

        async def call(_number: int) -> None:
            said = {"id": str(uuid4()), "room": room, "body": "@all now", "mention_all": True}
            await running.ask(users[0], "message.send", said)

        async def told(number: int) -> None:
            await call(number)
            await _until_notified(base, users[-1], number + 1)

        for first in range(1, size - CALLS, AT_ONCE):
            await asyncio.gather(*map(join, range(first, min(first + AT_ONCE, size - CALLS))))
        rows = [
            await _timed("join", CALLS, join, first=size - CALLS),
            await _timed("message", CALLS, send),
            await _timed("page of members", CALLS, members),
            await _timed("@all, until everybody is notified", MENTIONS, told),
        ]
        return [{"members": size, **row} for row in rows]


async def _until_notified(base: Database, user: str, number: int) -> None:
    """Wait until a user has so many notifications. Raises `BenchError`."""
    deadline = time.monotonic() + PATIENCE
    connection = cast("Any", await asyncpg.connect(base.url))
    try:
        while await connection.fetchval(_NOTIFIED, user) < number:
            if time.monotonic() > deadline:
                raise BenchError(f"{user} has not {number} notifications after {PATIENCE:g} s")
            await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def _timed(what: str, calls: int, call: Callable[[int], Awaitable[None]], first: int = 0) -> Row:
    """Make calls one after the other, and say what each took."""
    postgres = child("postgres")
    used, own = cpu_seconds(postgres), time.process_time()
    times: list[float] = []
    for number in range(first, first + calls):
        begun = time.perf_counter()
        await call(number)
        times.append((time.perf_counter() - begun) * 1000)
    times.sort()
    return {
        "operation": what,
        "p50_ms": round(times[calls // 2], 2),
        "p99_ms": round(times[calls * 99 // 100], 2),
        "chat_ms": round((time.process_time() - own) / calls * 1000, 2),
        "postgres_ms": round((cpu_seconds(postgres) - used) / calls * 1000, 2),
        "problems": [],
    }


def _compared(rows: Sequence[Row]) -> Iterator[Row]:
    """Say of the large room how many times as much CPU something takes as in the small one."""
    small = {row["operation"]: row for row in rows if row["members"] == SIZES[0]}
    for row in rows:
        cpu, before = (one["chat_ms"] + one["postgres_ms"] for one in (row, small[row["operation"]]))
        if row["members"] == SIZES[0]:
            yield row
            continue
        times = round(cpu / before, 2)
        # Everybody has a notification of their own.
        most = TIMES * (SIZES[1] / SIZES[0] if row["operation"].startswith("@all") else 1)
        yield {**row, "times_small": times, "problems": [f"{times} times the small room's"] if times > most else []}


async def _execute(base: Database, statement: str) -> None:
    connection = cast("Any", await asyncpg.connect(base.url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
