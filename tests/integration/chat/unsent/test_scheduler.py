"""Scheduled messages on real Postgres and NATS: sent once when they are due, by the rights of that moment."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from parley.chat.delivery.hints import NAMESPACE
from parley.chat.domain.membership import JoinRoom, LeaveRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.log.database import Pool
from parley.chat.log.writer import Writer
from parley.chat.unsent import scheduled_messages as store
from parley.chat.unsent import scheduler as sending
from parley.chat.unsent.scheduled_messages import CancelScheduled, ListScheduled, ScheduleMessage
from parley.chat.unsent.scheduler import Scheduler
from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import ChangedUser, CheckWelcome, HeldUser, Identity, Unwelcome, UnwelcomeUsers
from parley.framework import Delivery, RoomPublisher
from tests.support.bus import rejected, running_bus
from tests.support.chat.writing import ANN, BEN, create, running_writer
from tests.support.waiting import until

MAX_BODY = 1000


class Auth:
    """Who is welcome, and by which login."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.revoked_before = 0.0
        self.kicks = 0
        self.held: list[HeldUser] = []
        self.banned: set[str] = set()
        self.suspended: set[str] = set()
        self.away = False
        self.asked = 0

    async def check(self, request: CheckWelcome) -> UnwelcomeUsers:
        self.asked += 1
        if self.away:
            raise Reject(Code.UNAVAILABLE)
        (held,) = request.held
        self.held.append(held)
        if held.login in self.ended or held.issued_at < self.revoked_before:
            return UnwelcomeUsers([Unwelcome(0, "revoked_token", "Log in again.")])
        if 0 <= held.kicks < self.kicks:
            return UnwelcomeUsers([Unwelcome(0, "kicked", "Enough.")])
        if held.user_id in self.banned:
            return UnwelcomeUsers([Unwelcome(0, "banned", "You are banned.")])
        suspended = held.user_id in self.suspended
        return UnwelcomeUsers(changed=[ChangedUser(0, suspended, 0.0, "Benjamin", ())])


@pytest.fixture
async def own_bus(own_nats: Any) -> AsyncIterator[Bus]:
    """A NATS of the test's own, on which nobody else is auth."""
    async with running_bus(own_nats.url, "auth") as connected:
        yield connected


@pytest.fixture
def auth() -> Auth:
    return Auth()


@asynccontextmanager
async def scene(
    url: str, pool: Pool, bus: Bus, auth: Auth, monkeypatch: pytest.MonkeyPatch, processes: int = 1
) -> AsyncGenerator[tuple[Writer, str, list[dict[str, Any]]]]:
    """A room that Ben is in, those who send what is due, and what Ben is told of it."""
    monkeypatch.setattr(sending, "INTERVAL", 0.02)
    told: list[dict[str, Any]] = []
    bus.listen(
        subjects.room(NAMESPACE, "user:u_ben"),
        lambda data: told.extend(msgspec.json.decode(item.payload) for item in decode(data, Delivery).events),
    )
    await bus.respond(subjects.WELCOME, CheckWelcome, auth.check, "auth")
    async with running_writer(url) as (writer, _), Tasks() as tasks:
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        for number in range(processes):
            scheduler = Scheduler(pool, writer, bus, RoomPublisher(bus, NAMESPACE))
            tasks.forever(scheduler.run(), name=f"scheduled messages {number}")
        yield writer, room, told


def soon(room: str, command_id: str, body: str = "later", *, seconds: float = 0.15) -> ScheduleMessage:
    return ScheduleMessage(datetime.now(UTC) + timedelta(seconds=seconds), SendMessage(command_id, room, body))


async def sent(pool: Pool) -> list[str]:
    return [
        msgspec.json.decode(row["data"])["body"]
        for row in await pool.fetch("SELECT data::text FROM chat.events WHERE type = 5 ORDER BY sequence")
    ]


async def ids(pool: Pool) -> list[tuple[str, str]]:
    return [(one.id, one.code) for one in (await store.listed(pool, BEN, ListScheduled())).scheduled]


async def test_a_message_is_sent_when_its_time_has_come_once_and_by_its_id(
    database_url: str, pool: Pool, own_bus: Bus, auth: Auth, monkeypatch: pytest.MonkeyPatch
):
    async with scene(database_url, pool, own_bus, auth, monkeypatch, processes=3) as (writer, room, told):
        for number in range(20):
            await store.schedule(pool, BEN, soon(room, f"s{number}", f"text {number}"), MAX_BODY)
        assert len(await ids(pool)) == 20
        await until(lambda: len(told) == 20, "all are sent")
        assert {(one["state"], one["room"]) for one in told} == {("sent", room)}
        assert sorted(await sent(pool)) == sorted(f"text {number}" for number in range(20))
        assert await ids(pool) == []
        # Whoever sends the command once more gets the first result.
        again = await writer.submit(SendMessage("s3", room, "text 3"), BEN, "")
        assert again.recorded is not None
        assert again.recorded.actor_name == "Benjamin", "the name is that of the moment"
        assert len(await sent(pool)) == 20


async def test_a_process_that_dies_after_the_commit_sends_nothing_twice(
    database_url: str, pool: Pool, own_bus: Bus, auth: Auth, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "_HOLD", store._HOLD.replace("interval '30.0 s'", "interval '0.2 s'"))
    died: list[str] = []
    done = store.done

    async def dies(pool: Pool, user_id: str, command_id: str) -> None:
        if not died:
            died.append(command_id)
            raise ConnectionError("killed after the commit")
        await done(pool, user_id, command_id)

    monkeypatch.setattr(store, "done", dies)
    async with scene(database_url, pool, own_bus, auth, monkeypatch) as (_, room, told):
        await store.schedule(pool, BEN, soon(room, "once", seconds=0.05), MAX_BODY)
        await until(lambda: told, "it is sent again")
        assert died == ["once"]
        assert await sent(pool) == ["later"]


async def test_rights_are_those_of_the_moment_at_which_it_is_sent(
    database_url: str, pool: Pool, own_bus: Bus, auth: Auth, monkeypatch: pytest.MonkeyPatch
):
    async with scene(database_url, pool, own_bus, auth, monkeypatch) as (writer, room, told):
        auth.banned = {"u_ben"}
        await store.schedule(pool, BEN, soon(room, "banned", seconds=0.02), MAX_BODY)
        await until(lambda: len(told) == 1, "a banned user's is refused")
        auth.banned, auth.suspended = set(), {"u_ben"}
        await store.schedule(pool, BEN, soon(room, "suspended", seconds=0.02), MAX_BODY)
        await until(lambda: len(told) == 2, "a suspended user's is refused")
        auth.suspended = set()
        await store.schedule(pool, BEN, soon(room, "left"), MAX_BODY)
        await writer.submit(LeaveRoom("l", room), BEN, "")
        await until(lambda: len(told) == 3, "that of who has left is refused")
        assert [(one["id"], one["state"], one["code"]) for one in told] == [
            ("banned", "failed", "banned"), ("suspended", "failed", "suspended"), ("left", "failed", "not_a_member"),
        ]  # fmt: skip
        assert await ids(pool) == [("banned", "banned"), ("suspended", "suspended"), ("left", "not_a_member")]
        assert await sent(pool) == []
        # It may be scheduled again, and cancelled.
        await writer.submit(JoinRoom("j2", room), BEN, "")
        await store.schedule(pool, BEN, soon(room, "left", "back", seconds=0.02), MAX_BODY)
        await until(lambda: len(told) == 4, "it is sent")
        await store.cancel(pool, BEN, CancelScheduled("banned"))
        assert await sent(pool) == ["back"]
        assert await ids(pool) == [("suspended", "suspended")]


async def test_what_a_login_scheduled_ends_with_it_unless_another_takes_it_over(
    database_url: str, pool: Pool, own_bus: Bus, auth: Auth, monkeypatch: pytest.MonkeyPatch
):
    stolen = Identity("u_ben", "Ben", issued_at=1_000.0, login="s_stolen", kicks=2)
    own = Identity("u_ben", "Ben", issued_at=2_000.0, login="s_own", kicks=2)
    async with scene(database_url, pool, own_bus, auth, monkeypatch) as (_, room, told):
        for identity, command_id in ((stolen, "spam"), (stolen, "taken"), (own, "own")):
            await store.schedule(pool, identity, soon(room, command_id, command_id, seconds=60), MAX_BODY)
        await store.schedule(pool, own, soon(room, "taken", "taken", seconds=60), MAX_BODY)
        auth.ended = {"s_stolen"}
        await pool.fetch("UPDATE chat.scheduled SET try_at = clock_timestamp()")
        await until(lambda: len(told) == 3, "each is decided")
        assert sorted(await sent(pool)) == ["own", "taken"]
        assert await ids(pool) == [("spam", "revoked_token")]
        assert {(one.login, one.issued_at, one.kicks) for one in auth.held} == {
            ("s_stolen", 1_000.0, 2), ("s_own", 2_000.0, 2),
        }  # fmt: skip
        assert all(0 <= one.age < 60 for one in auth.held), "an age, since clocks differ"
        # From a login that stands it is sent under the same id.
        await store.schedule(pool, own, soon(room, "spam", "mine", seconds=0.02), MAX_BODY)
        await until(lambda: len(told) == 4, "it is sent")
        assert sorted(await sent(pool)) == ["mine", "own", "taken"]


async def test_what_was_scheduled_before_a_kick_or_a_revocation_of_everything_is_not_sent(
    database_url: str, pool: Pool, own_bus: Bus, auth: Auth, monkeypatch: pytest.MonkeyPatch
):
    async with scene(database_url, pool, own_bus, auth, monkeypatch) as (_, room, told):
        # A user of elsewhere has no session here.
        elsewhere = Identity("u_ben", "Ben", issued_at=1_000.0, kicks=0)
        for number in range(2):
            await store.schedule(pool, elsewhere, soon(room, f"s{number}", seconds=60), MAX_BODY)
        auth.kicks = 1
        await pool.fetch("UPDATE chat.scheduled SET try_at = clock_timestamp() WHERE id = 's0'")
        await until(lambda: len(told) == 1, "the kick counts")
        auth.revoked_before = 1_500.0
        await pool.fetch("UPDATE chat.scheduled SET try_at = clock_timestamp() WHERE id = 's1'")
        await until(lambda: len(told) == 2, "the revocation counts")
        assert (await ids(pool), await sent(pool)) == ([("s0", "kicked"), ("s1", "revoked_token")], [])
        # Of what an older version scheduled, nobody knows the login: it counts as scheduled when it was.
        auth.kicks, auth.revoked_before = 0, 0.0
        await store.schedule(pool, elsewhere, soon(room, "old", seconds=60), MAX_BODY)
        await pool.fetch("UPDATE chat.scheduled SET login = '', issued_at = NULL, kicks = -1 WHERE id = 'old'")
        await pool.fetch("UPDATE chat.scheduled SET try_at = clock_timestamp() WHERE id = 'old'")
        await until(lambda: len(told) == 3, "it is sent")
        assert auth.held[-1].issued_at > 1_700_000_000
        assert await sent(pool) == ["later"]


async def test_an_outage_delays_and_loses_nothing(
    database_url: str, pool: Pool, own_bus: Bus, auth: Auth, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "_AGAIN", store._AGAIN.replace("interval '10.0 s'", "interval '0.05 s'"))
    auth.away = True
    async with scene(database_url, pool, own_bus, auth, monkeypatch) as (_, room, told):
        await store.schedule(pool, BEN, soon(room, "late", seconds=0.02), MAX_BODY)
        await until(lambda: auth.asked > 2, "it is tried again")
        assert (await ids(pool), told) == ([("late", "")], [])
        auth.away = False
        await until(lambda: told, "it is sent when auth is back")
        assert await sent(pool) == ["later"]


async def test_hostile_schedules_are_refused_and_write_nothing(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        secret = await create(writer, command_id="s", kind="private")
    now = datetime.now(UTC)
    for said, code in (
        (ScheduleMessage(now - timedelta(seconds=1), SendMessage("x", room, "past")), Code.INVALID_PAYLOAD),
        (ScheduleMessage(now + timedelta(days=36_500), SendMessage("x", room, "far")), Code.INVALID_PAYLOAD),
        (ScheduleMessage(datetime.max.replace(tzinfo=UTC), SendMessage("x", room, "far")), Code.INVALID_PAYLOAD),
        (soon(room, "x", "y" * 1001), Code.PAYLOAD_TOO_LARGE),
        (soon(room, "x", "\x00"), Code.INVALID_PAYLOAD),
        (soon(secret, "x"), Code.NOT_FOUND),
        (soon("nowhere", "x"), Code.NOT_FOUND),
    ):
        assert (await rejected(store.schedule(pool, BEN, said, MAX_BODY))).code is code
    assert await pool.fetchval("SELECT count(*) FROM chat.scheduled") == 0
    monkeypatch.setattr(store, "MAX_SCHEDULED", 2)
    for number in range(2):
        await store.schedule(pool, BEN, soon(room, f"s{number}", seconds=60), MAX_BODY)
    assert (await rejected(store.schedule(pool, BEN, soon(room, "s3"), MAX_BODY))).code is Code.LIMIT_EXCEEDED
    await store.schedule(pool, BEN, soon(room, "s1", "another text", seconds=30), MAX_BODY)
    listed = (await store.listed(pool, BEN, ListScheduled())).scheduled
    assert [(one.id, one.message.body) for one in listed] == [("s1", "another text"), ("s0", "later")]
    assert (await store.listed(pool, ANN, ListScheduled())).scheduled == []
    assert (await rejected(store.cancel(pool, ANN, CancelScheduled("s1")))).code is Code.NOT_FOUND
    # What is being sent can neither be cancelled nor changed.
    await pool.fetch("UPDATE chat.scheduled SET held_until = now() + interval '1 minute'")
    assert (await rejected(store.cancel(pool, BEN, CancelScheduled("s1")))).code is Code.ALREADY_EXISTS
    assert (await rejected(store.schedule(pool, BEN, soon(room, "s1"), MAX_BODY))).code is Code.ALREADY_EXISTS
