"""Messages as they are now: what a page shows, where it is, and that events bring an older page up to a newer one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley.chat.domain.membership import JoinRoom, LeaveRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.domain.messages.pins import PinMessage, UnpinMessage
from parley.chat.domain.messages.reactions import AddReaction, RemoveReaction
from parley.chat.domain.messages.threads import FollowThread, UnfollowThread
from parley.chat.domain.rooms import UpdateRoom
from parley.chat.log.database import Pool
from parley.chat.queries import current, history, pinned
from parley.chat.queries.history import History
from parley.chat.queries.pinned import Pins
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from tests.support.bus import rejected
from tests.support.chat.page_reducer import Page
from tests.support.chat.writing import ANN, BEN, create, running_writer

PEOPLE = [ANN, BEN, *(Identity(f"u_{n}", f"User {n}") for n in range(5))]
EMOJI = ["\N{THUMBS UP SIGN}", "e\u0301", ":party:"]


class Conversation:
    """A room in which everybody is, and what they do there."""

    def __init__(self, writer: Any, pool: Pool, room: str, live: list[Any]) -> None:
        self.writer, self.pool, self.room = writer, pool, room
        self._live = live
        self._count = 0

    async def do(self, who: Identity, kind: Any, *args: Any, **fields: Any) -> int:
        """Have a command done; its sequence."""
        self._count += 1
        return (await self.writer.submit(kind(f"c{self._count}", self.room, *args, **fields), who, "")).sequence

    async def page(self, who: Identity = ANN, **place: Any) -> dict[str, Any]:
        """A page of the room as a client gets it."""
        fields: dict[str, Any] = {"limit": 200, **place}
        answer = await history.page(self.pool, History(self.room, **fields), who)
        return msgspec.json.decode(msgspec.json.encode(answer))

    async def bodies(self, **place: Any) -> list[str]:
        """The texts of a page's messages."""
        events = (await self.page(**place))["events"]
        return [event["data"]["body"] for event in events if event["type"] == "message.sent"]

    def live(self) -> list[dict[str, Any]]:
        """All events as they were published."""
        appended = [recorded for plan in self._live for recorded in plan.appended if recorded.room == self.room]
        return [msgspec.json.decode(msgspec.json.encode(recorded.client_event())) for recorded in appended]


@pytest.fixture
async def started(database_url: str, pool: Pool) -> AsyncIterator[Any]:
    """Makes conversations."""
    async with running_writer(database_url) as (writer, publisher):
        rooms = 0

        async def start(*people: Identity) -> Conversation:
            nonlocal rooms
            rooms += 1
            room = await create(writer, ANN, f"room{rooms}")
            talk = Conversation(writer, pool, room, publisher.decisions)
            for person in people:
                await talk.do(person, JoinRoom)
            return talk

        yield start


async def test_a_page_shows_what_became_of_its_messages(started: Any):
    talk = await started(BEN)
    root = await talk.do(BEN, SendMessage, "one", mentions=("u_ann",), data={"a": [1]})
    reply = await talk.do(ANN, SendMessage, "re", reply_to=root, thread=root)
    await talk.do(BEN, EditMessage, root, "two", 1)
    await talk.do(ANN, AddReaction, root, EMOJI[0])
    await talk.do(BEN, AddReaction, root, EMOJI[0])
    await talk.do(ANN, PinMessage, root)
    page = await talk.page()
    assert [event["type"] for event in page["events"]] == [
        "room.created", "member.joined", "message.sent", "message.sent"
    ]  # fmt: skip
    first, second = page["events"][2:]
    assert first["number"] == 1
    at = first["data"].pop("edited_at")
    assert at > first["at"]
    assert first["data"] == {
        "body": "two", "version": 2, "mentions": ["u_ann"], "data": {"a": [1]}, "pinned": True,
        "reactions": [{"emoji": EMOJI[0], "count": 2, "mine": True,
                       "users": [{"id": "u_ann", "name": "Ann"}, {"id": "u_ben", "name": "Ben"}]}],
        "thread": {"replies": 1, "last_at": second["at"], "following": True},
    }  # fmt: skip
    quote = {"sequence": root, "actor": {"id": "u_ben", "name": "Ben"}, "body": "two"}
    assert second["data"] == {"body": "re", "version": 1, "reply_to": root, "thread": root, "quote": quote}
    assert page["head"] == (await talk.page(raw=True))["events"][-1]["sequence"]
    await talk.do(BEN, DeleteMessage, root)
    first, second = (await talk.page())["events"][2:]
    assert (first["erased"], first["actor"]) == (True, {"id": "u_ben", "name": "Ben"})
    assert first["data"]["deleted"] is True
    assert set(first["data"]) == {"deleted", "thread"}
    assert second["data"]["quote"] == {"sequence": root, "deleted": True}
    assert [event["sequence"] for event in (await talk.page(thread=root))["events"]] == [reply]


async def test_the_pinned_messages_of_a_room_are_one_page(started: Any):
    talk = await started(BEN)
    sent = [await talk.do(BEN, SendMessage, f"m{n}") for n in range(4)]
    for sequence in (sent[2], sent[0], sent[3]):
        await talk.do(ANN, PinMessage, sequence)
    await talk.do(ANN, UnpinMessage, sent[3])
    answer = msgspec.json.decode(msgspec.json.encode(await pinned.page(talk.pool, Pins(talk.room), BEN)))
    found = [(event["sequence"], event["data"]) for event in answer["events"]]
    assert found == [(sent[n], {"body": f"m{n}", "version": 1, "pinned": True}) for n in (0, 2)]
    assert answer["head"] == sent[3] + 4
    assert (await rejected(pinned.page(talk.pool, Pins("rnowhere"), BEN))).code is Code.NOT_FOUND


async def test_fifty_reactions_are_no_page(started: Any, monkeypatch: pytest.MonkeyPatch):
    talk = await started(*PEOPLE[1:])
    first = await talk.do(ANN, SendMessage, "one")
    for number in range(10):
        await asyncio.gather(*(talk.do(who, AddReaction, first, f"{number}") for who in PEOPLE))
    await talk.do(ANN, SendMessage, "two")
    page = await talk.page(limit=2)
    assert [event["data"]["body"] for event in page["events"]] == ["one", "two"]
    assert (page["more"], page["before"]) == (True, first)
    kinds = page["events"][0]["data"]["reactions"]
    assert [(kind["count"], len(kind["users"])) for kind in kinds] == [(len(PEOPLE), current.FIRST_USERS)] * 10
    forward = await talk.page(after=first, limit=1)
    assert [event["data"]["body"] for event in forward["events"]] == ["two"]
    assert (forward["more"], "after" in forward) == (False, False)


async def test_pages_follow_each_other_without_gap_or_double(started: Any):
    talk = await started(BEN)
    sent = [await talk.do(ANN, SendMessage, f"m{n}") for n in range(11)]
    for sequence in sent[::2]:
        await talk.do(BEN, AddReaction, sequence, "x")
    everything = [event["sequence"] for event in (await talk.page())["events"]]
    for limit in (1, 2, 3, 12):
        older: list[int] = []
        place: dict[str, Any] = {}
        while True:
            page = await talk.page(limit=limit, **place)
            older = [event["sequence"] for event in page["events"]] + older
            if not page["more"]:
                break
            place = {"before": page["before"]}
        newer: list[int] = []
        place = {"after": 0}
        while True:
            page = await talk.page(limit=limit, **place)
            newer += [event["sequence"] for event in page["events"]]
            if not page["more"]:
                break
            place = {"after": page["after"]}
        assert older == newer == everything


async def test_a_page_is_around_a_message_or_a_moment(started: Any):
    talk = await started()
    sent = [await talk.do(ANN, SendMessage, f"m{n}") for n in range(9)]
    assert await talk.bodies(around=sent[4], limit=4) == ["m2", "m3", "m4", "m5"]
    page = await talk.page(around=sent[4], limit=4)
    assert (page["more"], page["before"], page["after"]) == (True, sent[2], sent[5])
    assert await talk.bodies(before=page["before"], limit=2) == ["m0", "m1"]
    assert await talk.bodies(after=page["after"], limit=2) == ["m6", "m7"]
    assert await talk.bodies(around=sent[4], limit=1) == ["m4"]
    assert await talk.bodies(around=10_000, limit=4) == ["m7", "m8"]
    times = {event["sequence"]: event["at"] for event in (await talk.page())["events"]}
    moment = datetime.fromisoformat(times[sent[6]])
    assert await talk.bodies(at=moment, limit=2) == ["m5", "m6"]
    assert await talk.bodies(at=datetime(2000, 1, 1, tzinfo=UTC), limit=4) == ["m0"]
    assert await talk.bodies(at=datetime(2999, 1, 1, tzinfo=UTC), limit=4) == ["m7", "m8"]
    # In UTC, these moments are of years that there are not.
    assert await talk.bodies(at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), limit=4) == ["m0"]
    last = datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=14)))
    assert await talk.bodies(at=last, limit=4) == ["m7", "m8"]


async def test_a_page_is_asked_for_at_one_place_of_a_visible_room(started: Any, pool: Pool):
    talk = await started()
    for place in ({"before": 2, "after": 1}, {"around": 1, "at": datetime.now(UTC)}, {"raw": True, "around": 1},
                  {"raw": True, "thread": 1}):  # fmt: skip
        assert (await rejected(talk.page(**place))).code is Code.INVALID_PAYLOAD
    await pool.fetch("UPDATE chat.rooms SET kind = 'private'")
    for place in ({}, {"around": 1}, {"at": datetime.now(UTC)}, {"thread": 1}, {"raw": True}):
        assert (await rejected(talk.page(BEN, **place))).code is Code.NOT_FOUND


async def test_a_thread_has_pages_of_its_own(started: Any):
    talk = await started(BEN)
    roots = [await talk.do(ANN, SendMessage, f"root{n}") for n in range(2)]
    for number in range(6):
        await talk.do(BEN, SendMessage, f"re{number}", thread=roots[number % 2])
    assert await talk.bodies(thread=roots[0]) == ["re0", "re2", "re4"]
    page = await talk.page(thread=roots[1], limit=2)
    assert ([event["data"]["body"] for event in page["events"]], page["more"]) == (["re3", "re5"], True)
    page = await talk.page(thread=roots[1], limit=2, before=page["before"])
    assert ([event["data"]["body"] for event in page["events"]], page["more"]) == (["re1"], False)
    assert (await talk.page(thread=99))["events"] == []


async def test_a_page_among_very_many_reactions_ends_early_and_goes_on(started: Any, monkeypatch: pytest.MonkeyPatch):
    statements = {name: text for name, text in vars(history).items() if name in {"_AFTER", "_BEFORE"}}
    for name, text in statements.items():
        monkeypatch.setattr(history, name, text.replace(f"LIMIT {current.LOOKED_THROUGH}", "LIMIT 5"))
    monkeypatch.setattr(history, "LOOKED_THROUGH", 5)
    talk = await started(BEN)
    first = await talk.do(ANN, SendMessage, "one")
    for _ in range(6):
        await talk.do(BEN, AddReaction, first, "x")
        await talk.do(BEN, RemoveReaction, first, "x")
    seen: list[int] = []
    place: dict[str, Any] = {}
    for _ in range(10):
        page = await talk.page(**place)
        seen += [event["sequence"] for event in reversed(page["events"])]
        if not page["more"]:
            break
        place = {"before": page["before"]}
    assert seen == [3, 2, 1]
    page = await talk.page(after=first)
    assert (page["events"], page["more"], page["after"]) == ([], True, first + 5)


def same(old: dict[str, Any], fresh: dict[str, Any]) -> bool:
    """Whether two events are equal, but for the fifth of many who reacted, whom an older page cannot know."""
    mine, theirs = old["data"].get("reactions", []), fresh["data"].get("reactions", [])
    named = all(
        one["users"] == other["users"][: len(one["users"])]
        and (len(one["users"]) == len(other["users"]) or one["count"] >= current.FIRST_USERS)
        for one, other in zip(mine, theirs, strict=False)
    )

    def bare(event: dict[str, Any]) -> dict[str, Any]:
        kinds = [{**kind, "users": []} for kind in event["data"].get("reactions", [])]
        return event | {"data": event["data"] | {"reactions": kinds}}

    return named and bare(old) == bare(fresh)


STEP = st.tuples(
    st.sampled_from(["send", "answer", "reply", "edit", "delete", "react", "react", "unreact", "pin", "unpin", "edit",
                     "follow", "unfollow", "leave", "join", "rename"]),
    st.integers(0, len(PEOPLE) - 1), st.integers(0, 4), st.integers(0, 2),
)  # fmt: skip


@settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=10, max_size=40))
async def test_events_bring_a_page_of_any_age_up_to_what_a_fresh_one_is(started: Any, steps: list[Any]):
    talk = await started(*PEOPLE[1:])
    sent: list[int] = [await talk.do(ANN, SendMessage, "the first")]
    authors: dict[int, Identity] = {sent[0]: ANN}
    versions: dict[int, int] = {}
    standing: list[tuple[Identity, int, str]] = []
    taken: list[tuple[Identity, dict[str, Any]]] = []
    for number, (what, who, which, emoji) in enumerate(steps):
        person, message, sign = PEOPLE[who], sent[which % len(sent)], EMOJI[emoji]
        # Who may do it, mostly; what nobody may is refused elsewhere.
        if what in {"edit", "delete"}:
            person = authors[message]
        elif what in {"pin", "unpin", "rename"}:
            person = ANN
        elif what == "unreact" and standing:
            person, message, sign = standing.pop(which % len(standing))
        commands: dict[str, tuple[Any, ...]] = {
            "send": (SendMessage, f"text {number} " + "\u00e9" * which * 100),
            "answer": (SendMessage, f"answer {number}", message),
            "reply": (SendMessage, f"reply {number}", None, message),
            "edit": (EditMessage, message, f"edit {number}", versions.get(message, 1)),
            "delete": (DeleteMessage, message),
            "react": (AddReaction, message, sign),
            "unreact": (RemoveReaction, message, sign),
            "pin": (PinMessage, message),
            "unpin": (UnpinMessage, message),
            "follow": (FollowThread, message),
            "unfollow": (UnfollowThread, message),
            "leave": (LeaveRoom,),
            "join": (JoinRoom,),
            "rename": (UpdateRoom, f"Name {number}"),
        }
        try:
            sequence = await talk.do(person, *commands[what])
        except Reject:
            continue
        if what in {"send", "answer", "reply"}:
            sent.append(sequence)
            authors[sequence] = person
        if what == "react":
            standing.append((person, message, sign))
        if what == "edit":
            versions[message] = versions.get(message, 1) + 1
        reader = PEOPLE[number % 2]
        taken.append((reader, await talk.page(reader)))
    live = talk.live()
    read = (await talk.page(raw=True, after=0))["events"]
    assert [event["sequence"] for event in live] == [event["sequence"] for event in read]
    fresh = {reader.user_id: await talk.page(reader) for reader in PEOPLE[:2]}
    for reader, answer in taken:
        for events in (live, read):
            page = Page(msgspec.json.decode(msgspec.json.encode(answer)), reader.user_id)
            for event in events:
                page.apply(msgspec.json.decode(msgspec.json.encode(event)))
            wanted = fresh[reader.user_id]
            assert page.head == wanted["head"]
            assert len(page.events) == len(wanted["events"])
            for old, new in zip(page.events, wanted["events"], strict=True):
                assert same(old, new), (old, new)
