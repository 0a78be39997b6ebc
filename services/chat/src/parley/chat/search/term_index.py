"""Keeps the table by which messages are found: chat's own consumer of the log (`consumers/`).

A message's row has the numbers of its terms, each combined (XOR) with its scope and with a part of that scope's index.
The scope is 0 for all public rooms together, and the room itself for a private one: so nobody waits for what is said in
rooms that they may not read, or learns by the time that takes that a word is said there. Parts follow each other in
time: the newest matches stand in the newest part, and no list of matches is longer than a part.

What is handed over again changes nothing: a row is written for the text of the latest event. Texts that are deleted or
erased lose their rows; until then `finder` finds nothing in them, since it reads the log.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

from parley.chat.domain.encoding.compact import unpack
from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.log.database import Pool
from parley.chat.search.terms import (
    SEARCH_VERSION,
    from_term,
    has_link,
    has_term,
    number_of,
    room_term,
    terms_of,
    units,
)
from parley.framework import LogEvent

NAME = f"chat.search-{SEARCH_VERSION}"
"""The consumer's name: another version begins at the beginning of the log."""
ALL_VERSIONS = "chat.search-"
EVENTS = "message.*"
PUBLIC = 0
"""The scope of all public rooms. No room has this key, but for one in 2⁶⁴."""
PART, PRIVATE_PART = 4_096, 512
"""Messages after which another part of the index of public rooms begins, or of a private room.

A search looks into one part of many private rooms, and into many parts of the public ones.
"""
SLICE = 4_000
"""Characters of texts that are cut into terms in a turn of the loop, in about a millisecond."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

_KINDS = "SELECT room_id, kind FROM chat.rooms WHERE room_id = ANY($1::bigint[])"
_EDITED = """
SELECT recorded_at, actor_id, data -> 'attachments' IS NOT NULL AS files FROM chat.events
WHERE room_id = $1 AND sequence = $2
"""
# From the part on that a moment is in.
_PARTS_OF = """
SELECT q.scope, p.* FROM unnest($1::bigint[], $2::timestamptz[]) AS q(scope, oldest) CROSS JOIN LATERAL (
  SELECT starts, part, latest, messages FROM chat.search_parts WHERE scope = q.scope AND starts >= coalesce(
    (SELECT max(starts) FROM chat.search_parts WHERE scope = q.scope AND starts <= q.oldest), '-infinity'
  ) ORDER BY starts
) p
"""
# A part that is new has as many messages as this batch adds.
_PUT_PARTS = """
INSERT INTO chat.search_parts AS known (scope, starts, part, latest, messages)
SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[], $4::timestamptz[], $5::bigint[])
ON CONFLICT (scope, starts) DO UPDATE
SET latest = greatest(known.latest, excluded.latest), messages = known.messages + excluded.messages
"""
# Each list of terms comes as text, since an array of Postgres has no lists of different lengths.
_PUT = """
INSERT INTO chat.search (room_id, sequence, text_sequence, recorded_at, version, terms)
SELECT q.room_id, q.sequence, q.text_sequence, q.recorded_at, $5, q.terms::bigint[]
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $6::text[])
  AS q(room_id, sequence, text_sequence, recorded_at, terms)
ON CONFLICT (room_id, sequence) DO UPDATE
SET text_sequence = excluded.text_sequence, version = excluded.version, terms = excluded.terms
WHERE chat.search.text_sequence <= excluded.text_sequence AND chat.search.version <= excluded.version
"""
_DROP = "DELETE FROM chat.search WHERE room_id = $1 AND sequence BETWEEN $2 AND $3"
_DROP_EDITED = """
DELETE FROM chat.search
WHERE room_id = $1 AND text_sequence BETWEEN $2 AND $3 AND text_sequence <> sequence
"""


class IndexedText(NamedTuple):
    """The present text of a message: the message's place, and the event that has the text."""

    room_id: int
    sequence: int
    text_sequence: int
    recorded_at: datetime
    author: str
    body: str
    files: bool


class _Part:
    """One part of a scope's index, and how many messages this batch adds."""

    def __init__(self, starts: datetime, part: int, latest: datetime, messages: int) -> None:
        self.starts, self.part, self.latest, self.messages = starts, part, latest, messages
        self.added = 0


class TermIndex:
    """Writes rows for the messages of the log."""

    def __init__(self, pool: Pool, part: int = PART, private_part: int = PRIVATE_PART) -> None:
        self._pool = pool
        self._part, self._private_part = part, private_part

    async def consume(self, events: list[LogEvent]) -> None:
        """Take a batch of events, in the order of each room's. Raises what asyncpg raises; then it comes again."""
        async with self._pool.acquire() as connection, connection.transaction():
            texts: list[IndexedText] = []
            for event in events:
                if (room_id := room_key(event.room)) is None:
                    continue
                match event.type:
                    case "message.sent":
                        texts.append(_sent(room_id, event))
                    case "message.edited":
                        texts += await _edited(connection, room_id, event)
                    case "message.deleted":
                        # In the log's order: what was said before is written first, or its row would come back after
                        # the deletion.
                        await self._put(connection, texts)
                        texts = []
                        await _drop(connection, room_id, [(event.data["message"], event.data["message"])])
                    case "events.erased":
                        await self._put(connection, texts)
                        texts = []
                        await _drop(connection, room_id, event.data["ranges"])
                    case _:
                        pass
            await self._put(connection, texts)

    async def _put(self, connection: Any, found: list[IndexedText]) -> None:
        # A message that was edited meanwhile comes again, with a newer text.
        texts = list({(one.room_id, one.sequence): one for one in found}.values())
        if not texts:
            return
        kinds = {row["room_id"]: row["kind"] for row in await connection.fetch(_KINDS, [one.room_id for one in texts])}
        scopes = [PUBLIC if kinds.get(one.room_id) == "public" else one.room_id for one in texts]
        parts = await self._parts(connection, texts, scopes)
        terms: list[str] = []
        cut = 0
        for one, scope, part in zip(texts, scopes, parts, strict=True):
            terms.append(f"{{{','.join(map(str, term_numbers(one, scope, part)))}}}")
            cut += len(one.body)
            if cut > SLICE:
                # The loop goes on meanwhile. A thread would keep the interpreter from it for longer.
                await asyncio.sleep(0)
                cut = 0
        rooms, sequences = [one.room_id for one in texts], [one.sequence for one in texts]
        text_sequences, times = [one.text_sequence for one in texts], [one.recorded_at for one in texts]
        await connection.execute(_PUT, rooms, sequences, text_sequences, times, SEARCH_VERSION, terms)

    async def _parts(self, connection: Any, texts: list[IndexedText], scopes: list[int]) -> list[int]:
        """Return the part of each text, and begin new ones where the last one is full."""
        oldest: dict[int, datetime] = {}
        for one, scope in zip(texts, scopes, strict=True):
            oldest[scope] = min(one.recorded_at, oldest.get(scope, one.recorded_at))
        known: defaultdict[int, list[_Part]] = defaultdict(list)
        for row in await connection.fetch(_PARTS_OF, list(oldest), list(oldest.values())):
            known[row["scope"]].append(_Part(row["starts"], row["part"], row["latest"], row["messages"]))
        found: list[int] = []
        for one, scope in zip(texts, scopes, strict=True):
            parts = known[scope]
            if not parts:
                parts.append(_Part(_BEGINNING, 0, one.recorded_at, 0))
            last = parts[-1]
            # A part ends where something newer than all of it comes, so that what stands in an older part is older.
            if (
                last.messages >= (self._part if scope == PUBLIC else self._private_part)
                and one.recorded_at > last.latest
            ):
                last = _Part(one.recorded_at, last.part + 1, one.recorded_at, 0)
                parts.append(last)
            # An edit belongs to the part of its message's time, which may be an old one.
            at = next((part for part in reversed(parts) if part.starts <= one.recorded_at), parts[0])
            at.latest = max(at.latest, one.recorded_at)
            at.messages += 1
            at.added += 1
            found.append(at.part)
        changed = [
            (scope, part.starts, part.part, part.latest, part.added)
            for scope, parts in known.items()
            for part in parts
            if part.added
        ]
        await connection.execute(_PUT_PARTS, *(list(column) for column in zip(*changed, strict=True)))
        return found


def _sent(room_id: int, event: LogEvent) -> IndexedText:
    data = event.data
    return IndexedText(
        room_id, event.sequence, event.sequence, event.at, event.actor_id, data.get("body", ""),
        bool(data.get("attachments")),
    )  # fmt: skip


async def _edited(connection: Any, room_id: int, event: LogEvent) -> list[IndexedText]:
    """Return the new text of a message, which is found by the time and the author of the message."""
    sequence: int = event.data["message"]
    row = await connection.fetchrow(_EDITED, room_id, sequence)
    if row is None:
        return []
    # An edit says the text alone; the files are the message's.
    author, body = unpack(row["actor_id"]), event.data.get("body", "")
    return [IndexedText(room_id, sequence, event.sequence, row["recorded_at"], author, body, row["files"])]


async def _drop(connection: Any, room_id: int, ranges: list[tuple[int, int]]) -> None:
    for first, last in ranges:
        await connection.execute(_DROP, room_id, first, last)
        await connection.execute(_DROP_EDITED, room_id, first, last)


def term_numbers(text: IndexedText, scope: int, part: int) -> list[int]:
    """Return the numbers by which a text is found, combined with its scope and the part of its index."""
    terms = [*terms_of(units(text.body)), from_term(text.author)]
    if scope == PUBLIC:
        terms.append(room_term(text.room_id))
    if has_link(text.body):
        terms.append(has_term("link"))
    if text.files:
        terms.append(has_term("file"))
    return [number_of(term) ^ scope ^ part for term in terms]
