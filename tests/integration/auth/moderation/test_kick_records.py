"""A kick says what is unknown, and says again when it is known: also after a restart of auth."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.http.admin import bulk
from parley.auth.moderation import kick_records, kicks
from parley.auth.moderation.kicks import KickOrder
from parley.common.errors import Code, Reject
from parley.common.wire import subjects
from parley.common.wire.operations import OperationReport
from parley.common.wire.processes import SignOfLife
from tests.support.auth.played_gateway import PlayedGateway, played_gateway, settled
from tests.support.auth.service import Auth, code, running_auth
from tests.support.bus import running_bus
from tests.support.proxy import Proxy
from tests.support.waiting import until

GUEST = "guest:1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kick_records, "FOLLOW_INTERVAL", 0.05)
    monkeypatch.setattr(kicks, "ANSWER_TIMEOUT", 0.3)


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


@pytest.fixture
async def gateway(nats_url: str) -> AsyncIterator[PlayedGateway]:
    async with played_gateway(nats_url, "g1", [GUEST, GUEST]) as running:
        yield running


async def report(auth: Auth, kick_id: str) -> dict[str, Any]:
    return (await auth.get(f"/admin/kicks/{kick_id}", await auth.admin_token())).json()


async def complete(auth: Auth, kick_id: str) -> dict[str, Any]:
    async def known() -> Any:
        found = await report(auth, kick_id)
        return found if found["complete"] else None

    return await until(known)


async def test_what_was_known_at_once_is_remembered(auth: Auth, gateway: PlayedGateway):
    await settled(auth, "g1")
    answer = (await auth.post(f"/admin/users/{GUEST}/kick", {"reason": "why"}, await auth.admin_token())).json()
    found = await report(auth, answer["kick_id"])
    assert (found["disconnected"], found["complete"], found["unanswered"]) == (2, True, [])
    assert (found["users"], found["code"], found["reason"]) == ([GUEST], "kicked", "why")


async def test_a_gateway_that_was_silent_is_asked_again_for_what_is_old_enough(auth: Auth, gateway: PlayedGateway):
    await settled(auth, "g1")
    gateway.silent = True
    answer = (await auth.post(f"/admin/users/{GUEST}/kick", {}, await auth.admin_token())).json()
    assert (answer["disconnected"], answer["unanswered"]) == (0, ["g1"])
    assert (await report(auth, answer["kick_id"]))["unanswered"] == ["g1"]
    gateway.silent = False
    found = await complete(auth, answer["kick_id"])
    assert (found["disconnected"], found["answered"], found["unanswered"]) == (2, ["g1"], [])
    assert gateway.kicks[0].min_age == 0
    assert gateway.kicks[-1].min_age > 0


async def test_a_kick_without_a_connection_to_nats_ends_nobody_who_has_come_by_the_time_there_is_one(
    database_url: str, nats_url: str, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
):
    async with Proxy.running(nats_url) as proxy, running_auth(database_url, proxy.url) as auth:
        await settled(auth, "g1")
        admin, late = await auth.admin_token(), list[KickOrder]()
        proxy.cut()
        await until(lambda: not auth.components.gateways._requests.bus.connected)
        kick_late = auth.components.gateways.kick_late

        async def counted(order: KickOrder, *rest: Any) -> None:
            await kick_late(order, *rest)
            late.append(order)

        monkeypatch.setattr(auth.components.gateways, "kick_late", counted)
        answer = (await auth.post(f"/admin/users/{GUEST}/kick", {}, admin)).json()
        kicked = time.monotonic()
        assert (answer["disconnected"], answer["unanswered"]) == (0, ["g1"])
        await until(lambda: len(late) > 2, "it is followed up while nobody can be told")
        away = time.monotonic() - kicked
        proxy.mend()
        found = await complete(auth, answer["kick_id"])
        assert (found["disconnected"], found["answered"]) == (2, ["g1"])
        assert gateway.kicks[0].selection.user_id == GUEST
        assert min(kick.min_age for kick in gateway.kicks) >= away


async def test_who_cannot_wait_for_a_connection_is_told_so_and_the_kick_is_carried_out_later(
    database_url: str, nats_url: str, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kicks, "MAX_WAITING", 0)
    monkeypatch.setattr(kick_records, "UNTOLD_SECONDS", 0.2)
    async with Proxy.running(nats_url) as proxy, running_auth(database_url, proxy.url) as auth:
        await settled(auth, "g1")
        admin = await auth.admin_token()
        proxy.cut()
        await until(lambda: not auth.components.gateways._requests.bus.connected)
        assert code(await auth.post(f"/admin/users/{GUEST}/kick", {}, admin)) == "unavailable"
        proxy.mend()
        await until(lambda: not gateway.users, "it is carried out")
        assert gateway.kicks[0].min_age > 0


async def test_an_answer_that_comes_while_it_is_looked_up_is_not_counted_as_none(
    auth: Auth, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
):
    await settled(auth, "g1")
    gateway.silent = True
    kick = (await auth.post(f"/admin/users/{GUEST}/kick", {}, await auth.admin_token())).json()["kick_id"]
    database, begin = auth.components.database, auth.components.database.autocommit

    @asynccontextmanager
    async def answered_between() -> AsyncGenerator[Any]:
        async with begin() as connection:
            statements = iter(range(99))

            async def settling(*statement: Any) -> Any:
                result = await connection.execute(*statement)
                if next(statements) == 0:
                    async with begin() as other:
                        answer = {"kick": kick, "address": gateway.bus.run_address, "ended": 2}
                        await other.execute(kick_records._SETTLE, answer)
                return result

            yield SimpleNamespace(execute=settling)

    monkeypatch.setattr(database, "autocommit", answered_between)
    found = await auth.components.kicks.find(kick)
    assert found is not None
    assert found.unanswered or found.disconnected == 2, "complete, and without what the last answer said"


async def test_a_kick_that_nobody_was_told_of_is_carried_out_for_who_was_there_before(
    auth: Auth, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
):
    await settled(auth, "g1")
    async with auth.components.database.transaction() as connection:
        order = await kick_records.write_order(connection, "u_admin", Code.KICKED, "why", users=[GUEST])
    # Whoever wrote it down has a while for it.
    assert (await report(auth, order.id))["disconnected"] == 0
    monkeypatch.setattr(kick_records, "UNTOLD_SECONDS", 0.2)

    async def told() -> Any:
        return (await report(auth, order.id))["disconnected"]

    assert await until(told) == 2
    (kick,) = gateway.kicks
    assert (kick.selection.user_id, kick.reason) == (GUEST, "why")
    assert kick.min_age >= 0.2


async def test_an_answer_that_comes_late_counts_once(auth: Auth, gateway: PlayedGateway):
    await settled(auth, "g1")
    gateway.silent = True
    answer = (await auth.post(f"/admin/users/{GUEST}/kick", {}, await auth.admin_token())).json()
    late = OperationReport(gateway.bus.run_address, 2).encode()
    for _ in range(2):
        await gateway.bus.publish(subjects.kicked(answer["kick_id"]), late)
    found = await complete(auth, answer["kick_id"])
    assert (found["disconnected"], found["answered"]) == (2, ["g1"])


async def test_an_auth_that_starts_anew_goes_on_with_it(database_url: str, nats_url: str, gateway: PlayedGateway):
    async with running_auth(database_url, nats_url) as auth:
        await settled(auth, "g1")
        gateway.silent = True
        answer = (await auth.post(f"/admin/users/{GUEST}/kick", {}, await auth.admin_token())).json()
    async with running_auth(database_url, nats_url) as auth:
        assert (await report(auth, answer["kick_id"]))["unanswered"] == ["g1"]
        gateway.silent = False
        found = await complete(auth, answer["kick_id"])
        assert (found["disconnected"], found["answered"]) == (2, ["g1"])


async def test_a_gateway_that_never_comes_back_is_forgotten(auth: Auth, nats_url: str, monkeypatch: pytest.MonkeyPatch):
    async with running_bus(nats_url) as bus:
        await bus.publish(subjects.alive("gateway", "gone:1a2b"), SignOfLife(1).encode())
        await bus.flush()
        await settled(auth, "gone")
        answer = (await auth.post(f"/admin/users/{GUEST}/kick", {}, await auth.admin_token())).json()
        assert answer["unanswered"] == ["gone"]
        # It says goodbye after all.
        await bus.publish(subjects.alive("gateway", "gone:1a2b"), SignOfLife(1, leaving=True).encode())
    found = await complete(auth, answer["kick_id"])
    assert (found["disconnected"], found["forgotten"]) == (0, ["gone"])


async def test_many_are_kicked_at_once_with_a_result_each(auth: Auth, gateway: PlayedGateway):
    admin = await auth.admin_token()
    await settled(auth, "g1")
    body = {"users": [GUEST, "guest:2", GUEST], "ranges": ["192.0.2.9/24", "192.0.2.0/24"], "reason": "flood"}
    answer = (await auth.post("/admin/kicks", body, admin)).json()
    assert answer["results"] == [{"target": target, "result": "ok"} for target in (GUEST, "guest:2", "192.0.2.0/24")]
    assert (answer["disconnected"], answer["unanswered"]) == (2, [])
    (kick,) = gateway.kicks
    assert (kick.selection.users, kick.selection.ranges) == ((GUEST, "guest:2"), ("192.0.2.0/24",))
    entries = (await auth.get("/admin/audit", admin)).json()["entries"]
    assert sorted((entry["action"], entry["target"]) for entry in entries) == [
        ("address.kick", "192.0.2.0/24"), ("user.kick", GUEST), ("user.kick", "guest:2"),
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["kicks", "bans"])
async def test_a_crash_in_the_middle_of_many_leaves_nobody_who_is_written_down_connected(
    auth: Auth, nats_url: str, monkeypatch: pytest.MonkeyPatch, path: str
):
    ids = sorted([(await auth.register(name))["user_id"] for name in ("ann", "ben", "cem")])
    monkeypatch.setattr(bulk, "AT_ONCE", 1)
    add = bulk._Orders.add

    async def dying(self: Any, connection: Any, reason: str, **whom: Any) -> None:
        if ids[2] in whom["users"]:
            raise RuntimeError("the process dies")
        await add(self, connection, reason, **whom)

    async with played_gateway(nats_url, "g1", ids) as gateway:
        await settled(auth, "g1")
        admin = await auth.admin_token()
        monkeypatch.setattr(bulk._Orders, "add", dying)
        answer = await auth.post(f"/admin/{path}", {"users": ids, "reason": "flood"}, admin)
        assert answer.status_code == 500
        entries = (await auth.get("/admin/audit", admin)).json()["entries"]
        assert {entry["target"] for entry in entries} == {*ids[:2]}
        assert gateway.kicks == []
        monkeypatch.setattr(kick_records, "UNTOLD_SECONDS", 0.2)
        await until(lambda: gateway.users == ids[2:], "the first two were kicked")
        assert gateway.kicks[0].selection.users == (*ids[:2],)


async def test_what_is_rolled_back_in_the_middle_of_many_is_not_kicked(auth: Auth, monkeypatch: pytest.MonkeyPatch):
    ids = sorted([(await auth.register(name))["user_id"] for name in ("ann", "ben", "cem")])
    monkeypatch.setattr(bulk, "AT_ONCE", 1)
    begin, write_order = auth.components.database.transaction, kick_records.write_order
    failing = list[AsyncConnection]()

    async def write_and_note(connection: AsyncConnection, *rest: Any, users: Sequence[str] = (), **more: Any) -> Any:
        if [*users] == [ids[1]]:
            failing.append(connection)
        return await write_order(connection, *rest, users=users, **more)

    # Others have transactions meanwhile, so it is not the second one that fails, but the one that is about the second.
    @asynccontextmanager
    async def transaction() -> AsyncGenerator[AsyncConnection]:
        async with begin() as connection:
            yield connection
            if connection in failing:
                raise Reject(Code.UNAVAILABLE)

    admin = await auth.admin_token()
    monkeypatch.setattr(kick_records, "write_order", write_and_note)
    monkeypatch.setattr(auth.components.database, "transaction", transaction)
    answer = (await auth.post("/admin/kicks", {"users": ids}, admin)).json()
    assert [each["result"] for each in answer["results"]] == ["ok", "unavailable", "ok"]
    found = await report(auth, answer["kick_id"])
    assert found["users"] == [ids[0], ids[2]]


async def test_many_are_banned_at_once_with_a_result_each(auth: Auth):
    admin, ann = await auth.admin_token(), await auth.register("ann")
    me = (await auth.get("/auth/me", admin)).json()["user_id"]
    body = {"users": [ann["user_id"], "nobody", me], "ranges": ["127.0.0.0/8"], "duration_seconds": 60}
    answer = (await auth.post("/admin/bans", body, admin)).json()
    told = (await auth.get(f"/admin/kicks/{answer['kick_id']}", admin)).json()["reason"]
    assert told.startswith("You are banned until ")
    results = answer["results"]
    assert {result["target"]: result["result"] for result in results} == {
        ann["user_id"]: "ok", "nobody": "not_found", me: "forbidden", "127.0.0.0/8": "forbidden",
    }  # fmt: skip
    assert code(await auth.get("/auth/me", ann["access_token"])) == "banned"
    assert (await auth.get("/admin/address-bans", admin)).json() == {"bans": [], "more": False}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"users": "ann"}, {"users": [""]}, {"users": ["x"] * 501}, {"ranges": ["nowhere"]},
        {"ranges": ["1.2.3.4/33"]}, {"users": ["a\x00"]}, {"ranges": ["::/0"] * 101},
    ],
    ids=lambda body: str(body)[:40],
)  # fmt: skip
async def test_malformed_lists_are_refused_whole(auth: Auth, body: dict[str, Any]):
    admin = await auth.admin_token()
    for path in ("/admin/kicks", "/admin/bans"):
        response = await auth.post(path, body, admin)
        assert (response.status_code, code(response)) == (422, "invalid_payload")
    assert (await auth.get("/admin/audit", admin)).json()["entries"] == []
    assert code(await auth.get(f"/admin/kicks/kick_{'0' * 32}", admin)) == "not_found"
    assert code(await auth.get("/admin/kicks/other", admin)) == "invalid_payload"
