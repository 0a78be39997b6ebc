"""Searches compared with a plain look through all messages: nothing is lost, doubled or out of order on any page.

Parts of the index have three messages and steps a few rooms, so that pages begin and end anywhere in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley.chat.domain.encoding.room_ids import room_key
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.search import finder
from parley.chat.search.finder import Finder, Search
from parley.chat.search.search_statements import MOST_WALKED, WALK
from parley.chat.search.term_index import TermIndex
from parley.framework import LogEvent
from tests.support.chat.writing import ANN, BEN, RecordingPublisher, create, running_writer

KINDS = ("public", "private", "private", "private", "private", "public")
DAY = datetime(2026, 3, 1, tzinfo=UTC)
WORDS = ("aa", "bb", "東", "京")
WALKED = 3
Place = tuple[datetime, int, int]


class Said(NamedTuple):
    """Something that is said, edited or deleted: `about` is the place of the message among those of its room."""

    what: str
    room: int
    words: list[str]
    later: int
    about: int
    by_ben: bool


class Asked(NamedTuple):
    """A search, its page size, the message it goes on behind, and the one that is erased once a page was seen."""

    phrases: list[list[str]]
    room: int | None
    author: str | None
    after: int | None
    before: int | None
    limit: int
    behind: int | None
    erased: int | None


class Message(msgspec.Struct):
    """A message as the plain look sees it."""

    room: int
    sequence: int
    at: datetime
    author: str
    words: list[str]
    version: int = 1
    deleted: bool = False


class Shown(msgspec.Struct):
    """Where a message is that was found."""

    room: str
    sequence: int
    at: datetime


texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4)
saids = st.builds(
    Said, st.sampled_from(["say", "say", "say", "say", "edit", "delete"]), st.integers(0, len(KINDS) - 1), texts,
    st.sampled_from([0, 0, 1, 1, 5, -2]), st.integers(0, 9), st.booleans(),
)  # fmt: skip
days = st.none() | st.integers(-1, 4)
askeds = st.builds(
    Asked, st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), min_size=1, max_size=2),
    st.none() | st.integers(0, len(KINDS) - 1), st.sampled_from([None, None, "u_ann", "u_ben"]), days, days,
    st.sampled_from([1, 2, 3, 100]), st.none() | st.integers(0, 40), st.none() | st.integers(0, 40),
)  # fmt: skip


class Log:
    """Rooms that Ann makes and Ben is in, and what is said there."""

    def __init__(self, pool: Pool, writer: Any, published: RecordingPublisher) -> None:
        self.pool, self.writer, self.published = pool, writer, published
        self.rooms: list[str] = []
        self.members: list[set[str]] = []
        self.messages: list[Message] = []
        self._count = 0

    async def begin(self) -> None:
        """Make new rooms, and forget what was indexed and erased."""
        await self.pool.fetch("DELETE FROM chat.erasures")
        await self.pool.fetch("TRUNCATE chat.search, chat.search_parts")
        self.messages.clear()
        self.rooms = [await create(self.writer, ANN, self._id(), kind=kind) for kind in KINDS]
        for room, kind in zip(self.rooms, KINDS, strict=True):
            if kind == "private":
                await self.writer.submit(InviteUser(self._id(), room, UserRef("u_ben")), ANN, "")
        await asyncio.gather(*(self.writer.submit(JoinRoom(self._id(), room), BEN, "") for room in self.rooms))
        self.members = [{"u_ann", "u_ben"} for _ in KINDS]
        self.published.decisions.clear()

    def _id(self) -> str:
        self._count += 1
        return f"c{self._count}"

    async def say(self, saids: list[Said]) -> list[LogEvent]:
        """Have all of this said; what a consumer is handed of it, with times that were drawn."""
        at, times = DAY, dict[tuple[int, int], datetime]()
        for said in saids:
            at = max(DAY, at + timedelta(hours=6 * said.later))
            who, room = (BEN if said.by_ben else ANN), self.rooms[said.room]
            known = [one for one in self.messages if one.room == said.room and not one.deleted]
            about = known[said.about % len(known)] if known else None
            body = _body(said.words)
            if said.what == "say" or about is None:
                accepted = await self.writer.submit(SendMessage(self._id(), room, body), who, "")
                self.messages.append(Message(said.room, accepted.sequence, at, who.user_id, said.words))
            elif said.what == "edit":
                author = BEN if about.author == "u_ben" else ANN
                edit = EditMessage(self._id(), room, about.sequence, body, about.version)
                accepted = await self.writer.submit(edit, author, "")
                about.words, about.version = said.words, about.version + 1
            else:
                accepted = await self.writer.submit(DeleteMessage(self._id(), room, about.sequence), ANN, "")
                about.deleted = True
            times[room_key(room) or 0, accepted.sequence] = at
        await self.pool.fetch(
            """UPDATE chat.events e SET recorded_at = q.at
               FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS q(room_id, sequence, at)
               WHERE e.room_id = q.room_id AND e.sequence = q.sequence""",
            *([list(column) for column in zip(*times, strict=True)] or [[], []]), list(times.values()),
        )  # fmt: skip
        return [
            LogEvent(str(one.event_id), one.type, one.room, one.sequence, times[one.room_id, one.sequence],
                     one.actor_id, one.actor_name, one.data)
            for decision in self.published.decisions for one in decision.appended
        ]  # fmt: skip

    def place(self, message: Message) -> Place:
        """Where a message stands among all."""
        return message.at, room_key(self.rooms[message.room]) or 0, message.sequence

    def matches(self, asked: Asked, who: str) -> list[Place]:
        """What a plain look finds, the newest first."""
        found: list[Place] = []
        for one in self.messages:
            day = (one.at - DAY) // timedelta(days=1)
            if (
                not one.deleted
                and (KINDS[one.room] == "public" or who in self.members[one.room])
                and asked.room in {None, one.room}
                and asked.author in {None, one.author}
                and (asked.after is None or day > asked.after)
                and (asked.before is None or day < asked.before)
                and all(_stands_in(one.words, phrase) for phrase in asked.phrases)
            ):
                found.append(self.place(one))
        return sorted(found, reverse=True)

    def query(self, asked: Asked) -> str:
        """What somebody types for that."""
        parts = [f'"{_body(phrase)}"' for phrase in asked.phrases]
        parts += [f"in:{self.rooms[asked.room]}"] if asked.room is not None else []
        parts += [f"from:{asked.author}"] if asked.author is not None else []
        for name, day in (("after", asked.after), ("before", asked.before)):
            parts += [f"{name}:{(DAY + timedelta(days=day)).date()}"] if day is not None else []
        return " ".join(parts)

    async def erase(self, message: Message) -> None:
        """Have a message erased; until that is done it is hidden."""
        async with self.pool.acquire() as connection:
            await erasures.request_message(connection, self.rooms[message.room], message.sequence)
        message.deleted = True


def _body(words: list[str]) -> str:
    """Words with spaces between them, signs without."""
    text = "".join(f"{word} " if word.isascii() else word for word in words)
    return text.strip()


def _stands_in(words: list[str], phrase: list[str]) -> bool:
    size = len(phrase)
    return any(words[start : start + size] == phrase for start in range(len(words) - size + 1))


@pytest.fixture
async def log(database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Log]:
    monkeypatch.setattr(finder, "STEPS", (1, 2, 100))
    monkeypatch.setattr(finder, "MOST_WALKED", WALKED)
    walk = WALK.replace(f"LIMIT {MOST_WALKED}", f"LIMIT {WALKED}").replace(f"THEN {MOST_WALKED}", f"THEN {WALKED}")
    monkeypatch.setattr(finder, "WALK", walk)
    async with running_writer(database_url) as (writer, published):
        yield Log(pool, writer, published)


@settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    saids=st.lists(saids, min_size=20, max_size=40), batches=st.lists(st.integers(0, 40), max_size=4),
    again=st.booleans(), left=st.none() | st.integers(0, len(KINDS) - 1),
    askeds=st.lists(askeds, min_size=8, max_size=8),
)  # fmt: skip
async def test_pages_have_what_a_plain_look_through_all_messages_finds(
    log: Log, saids: list[Said], batches: list[int], again: bool, left: int | None, askeds: list[Asked]
):
    await log.begin()
    events = await log.say(saids)
    for start, end in pairwise(sorted({0, *(cut % (len(events) + 1) for cut in batches), len(events)})):
        await TermIndex(log.pool, part=3, private_part=3).consume(events[start:end])
        if again:  # as where a process ends between the batch and its position
            await TermIndex(log.pool, part=3, private_part=3).consume(events[start:end])
    if left is not None:
        await log.writer.submit(LeaveRoom(log._id(), log.rooms[left]), BEN, "")
        log.members[left].discard("u_ben")
    for asked in askeds:
        if left is not None and asked.room == left and KINDS[left] == "private":
            continue  # not found
        after, place = "", None
        if asked.behind is not None:
            # Of whatever message, as the cursor of another query.
            place = log.place(log.messages[asked.behind % len(log.messages)])
            after = (
                f"{(place[0] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)}.{place[1]}.{place[2]}"
            )
        expected = [one for one in log.matches(asked, "u_ben") if place is None or one < place]
        found, erased = list[Place](), False
        while True:
            search = Search(log.query(asked), after, asked.limit)
            page = await Finder(log.pool).page(search, BEN)
            shown = msgspec.json.decode(msgspec.json.encode(page.messages), type=list[Shown])
            found += [(one.at, room_key(one.room) or 0, one.sequence) for one in shown]
            assert len(shown) <= asked.limit
            if not page.more:
                break
            if asked.erased is not None and not erased:
                erased = True
                await log.erase(log.messages[asked.erased % len(log.messages)])
                rest = [one for one in log.matches(asked, "u_ben") if one in expected]
                expected = found + [one for one in rest if one not in found]
            after = page.next or ""
        assert found == expected, search
