"""Finds messages: first which rooms the searcher may read, then what the index has there, then what the log says.

A search is a bounded amount of work. The index is read part by part, the newest first, until a page is full; what it
finds is read in the log, by the same rules as history is, and compared with what was asked for. Where much that the
index finds does not match, as with two common words that must stand side by side, a page ends early and says `more`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import asyncpg
import msgspec

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.events import ClientEvent
from parley.chat.log.database import Pool
from parley.chat.log.event_store import recorded_row
from parley.chat.log.position import Position
from parley.chat.queries.pages import PageBytes
from parley.chat.queries.visibility import key_of, no_such_room
from parley.chat.search.parsed_query import Wanted, parse
from parley.chat.search.search_statements import (
    BEHIND,
    FIND,
    LOOKING,
    MOST_WALKED,
    PLACE,
    READ,
    ROOM,
    SCOPES,
    SCOPES_BEFORE,
    SESSION,
    WALK,
    local,
)
from parley.chat.search.term_index import NAME, PUBLIC
from parley.chat.search.terms import number_of, room_term
from parley.common.errors import Code, Reject
from parley.common.user_shares import UserShares
from parley.common.wire.identity import Identity

MAX_PAGE = 100
AT_ONCE = 2
"""Searches that one process makes at a time, so that others who read have connections left."""
WAITING, WAITING_EACH = 32, 4
"""Searches that are made or wait, and of one user."""
MORE = 6
"""How many times a page's messages the index is asked for, where some of those that it finds turn out not to match."""
PAGE_SECONDS = 0.5
"""After which a page ends with what was found."""
BEHIND_SECONDS = 10
"""Age of a message from which on it is said that it is not indexed yet. Usually that takes half a second."""
LOOK_SECONDS = 1.0
"""For which an answer to whether the index is behind holds."""

STEPS = (8, 32, 128, 100_000)
"""Scopes that are looked into at once, those with the newest messages first. Common words are found in the first
ones."""

_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Search(msgspec.Struct, frozen=True):
    """`search`: messages by what is in them, newest first. `after` is the `next` of the page before."""

    query: str
    after: Annotated[str, msgspec.Meta(max_length=80)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 20


class SearchPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Messages, newest first. If there may be `more`, `next` is where to go on, even from a page without messages.

    `indexing` says that messages of some age are not found yet.
    """

    messages: list[ClientEvent[msgspec.Raw]]
    more: bool
    next: str | None = None
    indexing: bool = False


Place = tuple[datetime, int, int]
"""Where a message stands among all: its time, its room and its sequence."""


class Where(NamedTuple):
    """Scopes with the time of their newest message, the newest first, and what is looked for in them."""

    scopes: list[tuple[int, datetime]]
    terms: list[int]
    since: datetime
    until: datetime


class Hit(NamedTuple):
    """What the index found: a message, and the event that has its present text."""

    room_id: int
    sequence: int
    text_sequence: int
    recorded_at: datetime

    def place(self) -> Place:
        """Return where the message stands among all."""
        return self.recorded_at, self.room_id, self.sequence

    @property
    def cursor(self) -> str:
        """Where a page goes on that ended with it."""
        micros = (self.recorded_at - _EPOCH) // timedelta(microseconds=1)
        return f"{micros}.{self.room_id}.{self.sequence}"


class Finder:
    """Answers searches. One for a process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = UserShares(WAITING, WAITING_EACH)
        self._behind = True
        self._looked_at = -LOOK_SECONDS

    async def page(self, search: Search, identity: Identity) -> SearchPage:
        """Return a page of what a user searches for, of what they may read. Raises `Reject`."""
        wanted = parse(search.query, identity.user_id)
        place = place_of(search.after)
        self._waiting.check(identity.user_id)
        try:
            with self._waiting.place(identity.user_id):
                async with self._turn, self._pool.acquire() as connection:
                    behind = await self._is_behind(connection)
                    async with connection.transaction(readonly=True):
                        await connection.execute(local(SESSION))
                        where = await where_to_look(connection, wanted, identity, place)
                        found = await _page(connection, wanted, identity, where, place, search.limit)
        except asyncpg.QueryCanceledError as error:
            raise Reject(Code.TIMEOUT, "This search takes too long; search for less common words.") from error
        return msgspec.structs.replace(found, indexing=behind)

    async def _is_behind(self, connection: Any) -> bool:
        if (now := time.monotonic()) - self._looked_at < LOOK_SECONDS:
            return self._behind
        self._looked_at = now
        position: str | None = await connection.fetchval(PLACE, NAME)
        if position is None:
            self._behind = True
            return True
        async with connection.transaction(readonly=True):
            await connection.execute(local(LOOKING))
            since = timedelta(seconds=BEHIND_SECONDS)
            self._behind = await connection.fetchval(BEHIND, Position.decode(position).next, since)
        return self._behind


async def where_to_look(connection: Any, wanted: Wanted, identity: Identity, place: Place) -> Where:
    """Return where to look for what comes before a place, and for which terms. Raises `Reject(not_found)`."""
    terms = [number_of(term) for term in wanted.terms]
    scope = PUBLIC
    if wanted.room is not None:
        row = await connection.fetchrow(ROOM, identity.user_id, key_of(wanted.room))
        if row is None:
            raise no_such_room()
        if row["kind"] == "public":
            terms.append(number_of(room_term(row["room_id"])))
        else:
            scope = row["room_id"]
    since, until = wanted.since or _FIRST, wanted.until or _LAST
    asked = identity.user_id, scope, wanted.room is None
    if (before := min(until, place[0])) == _LAST:
        scopes = await connection.fetch(SCOPES, *asked)
    else:
        scopes = await connection.fetch(SCOPES_BEFORE, *asked, before)
    return Where([tuple(row) for row in scopes], terms, since, until)


async def _page(
    connection: Any, wanted: Wanted, identity: Identity, where: Where, place: Place, limit: int
) -> SearchPage:
    deadline = time.monotonic() + PAGE_SECONDS
    messages: list[ClientEvent[msgspec.Raw]] = []
    page = PageBytes()
    at: Hit | None = None
    # Each time the index has to look into every room that may be read, so it is asked twice, and once for what stands
    # side by side, which few of the messages with these words have.
    side_by_side = any(len(phrase) > 1 for phrase in wanted.phrases)
    for most in [MORE * limit] if side_by_side else [limit + 1, MORE * limit]:
        hits = await newest_hits(connection, where, place, most)
        for start in range(0, len(hits), 2 * limit):
            some = hits[start : start + 2 * limit]
            found = await _read(connection, identity, some)
            for hit in some:
                message = _matching(found, hit, wanted)
                taken = page.take([message], at_least_one=not messages) if message is not None else []
                if message is not None and (len(messages) == limit or not taken):
                    return SearchPage(messages, more=True, next=at.cursor if at else None)
                messages += taken
                at = hit
        if len(hits) < most:
            return SearchPage(messages, more=False)
        place = hits[-1].place()
        if time.monotonic() > deadline:
            break
    return SearchPage(messages, more=True, next=at.cursor if at else None)


async def newest_hits(connection: Any, where: Where, place: Place, most: int) -> list[Hit]:
    """Return the newest matches of the index behind a place, at most so many, of all scopes together."""
    hits: list[Hit] = []
    since, left = where.since, where.scopes
    for step in STEPS:
        # What is older than enough matches of other scopes is not looked for, nor are scopes that are silent since.
        scopes = [scope for scope, latest in left[:step] if latest >= since]
        left = left[step:]
        if scopes and len(hits) == most:
            # Mostly no more than a few messages of each room are as new as the oldest match.
            walked, scopes = await _walked(connection, where, place, since, scopes)
            hits = _newest([*hits, *walked], most)
        if scopes:
            rows = await connection.fetch(FIND, scopes, where.terms, *place, since, where.until, most)
            hits = _newest([*hits, *(Hit(*row) for row in rows)], most)
        if len(hits) == most:
            since = hits[-1].recorded_at
        if not left:
            break
    return hits


async def _walked(
    connection: Any, where: Where, place: Place, since: datetime, scopes: list[int]
) -> tuple[list[Hit], list[int]]:
    """Return the matches since a moment in these scopes, and the scopes that have too many messages since then."""
    private = [scope for scope in scopes if scope != PUBLIC]
    rows = await connection.fetch(WALK, private, where.terms, *place, since, where.until)
    full = {row["scope"] for row in rows if row["seen"] >= MOST_WALKED}
    found = [Hit(*list(row.values())[2:]) for row in rows if row["scope"] not in full and row["room_id"] is not None]
    return found, [scope for scope in scopes if scope == PUBLIC or scope in full]


def _newest(hits: list[Hit], most: int) -> list[Hit]:
    return sorted(hits, key=Hit.place, reverse=True)[:most]


async def _read(connection: Any, identity: Identity, hits: list[Hit]) -> dict[tuple[int, int], Recorded]:
    """Return the events of these messages and of their present texts, as far as the user may read them now."""
    places = {(hit.room_id, at) for hit in hits for at in (hit.sequence, hit.text_sequence)}
    columns = [list(column) for column in zip(*places, strict=True)] or [[], []]
    rows = await connection.fetch(READ, identity.user_id, *columns)
    recorded = [recorded_row(row) for row in rows]
    return {(one.room_id, one.sequence): one for one in recorded if not one.erased}


def _matching(found: dict[tuple[int, int], Recorded], hit: Hit, wanted: Wanted) -> Recorded | None:
    """Return the message with its present text if it is what is searched for."""
    message, text = found.get((hit.room_id, hit.sequence)), found.get((hit.room_id, hit.text_sequence))
    if message is None or text is None:
        return None
    data: dict[str, Any] = msgspec.json.decode(message.data)
    if text is not message:
        edit: dict[str, Any] = msgspec.json.decode(text.data)
        data = data | {name: value for name, value in edit.items() if name in {"body", "version", "mentions"}}
        message = message._replace(data=msgspec.json.encode(data))
    return message if wanted.matches(message.actor_id, data) else None


def place_of(cursor: str) -> Place:
    """Return where a page begins. Raises `Reject(invalid_payload)`."""
    if not cursor:
        return _LAST, 0, 0
    try:
        micros, room_id, sequence = map(int, cursor.split("."))
        at = _EPOCH + timedelta(microseconds=micros)
    except (ValueError, OverflowError):
        raise Reject(Code.INVALID_PAYLOAD, "after is the next of another page.") from None
    if not -(2**63) <= room_id < 2**63 or not 0 <= sequence < 2**63:
        raise Reject(Code.INVALID_PAYLOAD, "after is the next of another page.")
    return at, room_id, sequence
