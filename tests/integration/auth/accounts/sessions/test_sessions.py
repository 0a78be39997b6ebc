"""Sessions: refresh with a grace period, their ends, and what their users see of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from parley.auth.accounts.sessions import sessions as rules
from parley.auth.accounts.sessions.sessions import Device
from parley.auth.user_rows import lock_user
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import CheckWelcome, HeldUser, UnwelcomeUsers
from parley.common.wire.operations import Selection
from tests.support.auth.identities import identify
from tests.support.auth.service import Auth, bearer, code, running_auth
from tests.support.auth.sessions import kicks_heard, session_of
from tests.support.waiting import until

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


async def refresh(auth: Auth, granted: dict[str, Any]) -> Any:
    return await auth.post("/auth/refresh", {"refresh_token": granted["refresh_token"]})


async def later(auth: Auth, seconds: float) -> None:
    """Let time pass: everything that sessions go by was so much longer ago."""
    async with auth.components.database.transaction() as connection:
        ago = {"ago": timedelta(seconds=seconds)}
        moved = ("issued_at", "expires_at", "used_at")
        changes = ", ".join(f"{column} = {column} - CAST(:ago AS interval)" for column in moved)
        await connection.execute(text(f"UPDATE auth.refresh_tokens SET {changes}"), ago)
        moved = ("created_at", "last_used_at", "expires_at", "usable_until", "revoked_at")
        changes = ", ".join(f"{column} = {column} - CAST(:ago AS interval)" for column in moved)
        await connection.execute(text(f"UPDATE auth.sessions SET {changes}"), ago)


async def count(auth: Auth, table: str) -> int:
    async with auth.components.database.autocommit() as connection:
        return (await connection.execute(text(f"SELECT count(*) FROM auth.{table}"))).scalar_one()


async def test_two_tabs_that_refresh_at_once_both_go_on(auth: Auth) -> None:
    granted = await auth.register()
    responses = await asyncio.gather(*(refresh(auth, granted) for _ in range(4)))
    assert [response.status_code for response in responses] == [200] * 4
    for response in responses:
        assert (await refresh(auth, response.json())).status_code == 200
        assert (await auth.get("/auth/me", response.json()["access_token"])).status_code == 200
    assert {session_of(response.json()) for response in responses} == {session_of(granted)}


async def test_a_lost_answer_is_asked_for_again(auth: Auth) -> None:
    granted = await auth.register()
    await refresh(auth, granted)
    await later(auth, 25)
    assert (await refresh(auth, granted)).status_code == 200


async def test_reuse_after_the_grace_period_ends_the_session_with_its_connections_and_no_other(
    auth: Auth, bus: Bus
) -> None:
    stolen = await auth.register()
    other = (await auth.login()).json()
    successor = (await refresh(auth, stolen)).json()
    await later(auth, 31)
    async with kicks_heard(bus) as heard:
        for token in (stolen, successor, successor, stolen):
            response = await refresh(auth, token)
            assert (response.status_code, code(response)) == (401, "revoked_token")
        await until(lambda: heard)
    assert heard == [Selection("", user_id=stolen["user_id"], logins=(session_of(stolen),))]
    assert code(await auth.get("/auth/me", successor["access_token"])) == "revoked_token"
    assert (await refresh(auth, other)).status_code == 200


async def test_a_token_that_was_spent_long_ago_is_recognised_though_its_row_is_gone(auth: Auth) -> None:
    first = last = await auth.register()
    for _ in range(5):
        last = (await refresh(auth, last)).json()
        await later(auth, 3600)
    assert await count(auth, "refresh_tokens") <= 2
    assert code(await refresh(auth, first)) == "revoked_token"
    assert code(await refresh(auth, last)) == "revoked_token"
    forged = dict(first, refresh_token=first["refresh_token"][:-2] + "AA")
    assert code(await refresh(auth, forged)) == "invalid_token"


async def test_a_session_ends_after_its_longest_time_however_often_it_is_refreshed(
    database_url: str, nats_url: str
) -> None:
    async with running_auth(
        database_url, nats_url, auth_session_ttl=7200, auth_refresh_ttl=5400, auth_access_ttl=3600
    ) as auth:
        granted = await auth.register()
        await later(auth, 5000)
        granted = (await refresh(auth, granted)).json()
        # Nothing that is issued outlives the session.
        assert granted["expires_in"] <= 2200
        await later(auth, 2210)
        assert code(await refresh(auth, granted)) == "expired_token"
        assert (await auth.get("/auth/sessions", (await auth.login()).json()["access_token"])).status_code == 200


async def test_what_is_over_is_swept_and_what_stands_is_not(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SWEEP_ROWS", 2)
    granted = await auth.register()
    for _ in range(4):
        await auth.login()
    await auth.client.request("DELETE", "/auth/sessions", headers=bearer(granted["access_token"]))
    assert await auth.components.sessions.sweep() == 0
    await later(auth, 86500)
    granted = (await refresh(auth, granted)).json()
    assert await auth.components.sessions.sweep() == 4
    assert await count(auth, "sessions") == 1
    assert (await refresh(auth, granted)).status_code == 200


async def test_sessions_of_a_user_and_tokens_of_a_session_are_bounded(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_SESSIONS", 3)
    monkeypatch.setattr(rules, "MAX_TOKENS", 5)
    first = await auth.register()
    granted, _, _ = [(await auth.login()).json() for _ in range(3)]
    assert code(await auth.get("/auth/me", first["access_token"])) == "revoked_token"
    assert await count(auth, "sessions") == 3
    codes = [(await refresh(auth, granted)).status_code for _ in range(6)]
    assert codes == [200] * 4 + [429] * 2


async def test_a_user_sees_their_sessions_and_ends_one(auth: Auth, bus: Bus) -> None:
    phone = await auth.register()
    body = {"username": "alice", "password": "correct horse battery"}
    laptop = (await auth.client.post("/auth/login", json=body, headers={"user-agent": FIREFOX})).json()
    await auth.register("mallory")
    listed = (await auth.get("/auth/sessions", phone["access_token"])).json()["sessions"]
    assert [(each["id"], each["current"]) for each in listed] == [
        (session_of(laptop), False),
        (session_of(phone), True),
    ]
    assert listed[0]["device"] == "Firefox on Linux"
    assert listed[1]["device"].startswith("python-httpx/")
    assert {(each["method"], each["address"]) for each in listed} == {("password", "127.0.0.1")}
    async with kicks_heard(bus) as heard:
        path = f"/auth/sessions/{session_of(laptop)}"
        assert (await auth.client.delete(path, headers=bearer(phone["access_token"]))).json() == {"ok": True}
        await until(lambda: heard)
        assert code(await auth.client.delete(path, headers=bearer(phone["access_token"]))) == "not_found"
    assert heard == [Selection("", user_id=phone["user_id"], logins=(session_of(laptop),))]
    assert code(await auth.get("/auth/me", laptop["access_token"])) == "revoked_token"
    assert code(await refresh(auth, laptop)) == "revoked_token"
    assert (await auth.get("/auth/me", phone["access_token"])).status_code == 200


async def test_all_other_sessions_are_ended_at_once_and_nobody_elses(auth: Auth, bus: Bus) -> None:
    mine = await auth.register()
    others = [(await auth.login()).json() for _ in range(2)]
    stranger = await auth.register("mallory")
    path = f"/auth/sessions/{session_of(mine)}"
    assert code(await auth.client.delete(path, headers=bearer(stranger["access_token"]))) == "not_found"
    async with kicks_heard(bus) as heard:
        answer = await auth.client.delete("/auth/sessions", headers=bearer(mine["access_token"]))
        assert answer.json() == {"ended": 2}
        await until(lambda: heard)
    assert {*heard[0].logins} == {session_of(other) for other in others}
    for token, status in ((mine, 200), (stranger, 200), (others[0], 401), (others[1], 401)):
        assert (await auth.get("/auth/me", token["access_token"])).status_code == status


@pytest.mark.parametrize("session", ["s_1", "nonsense", "s_" + "g" * 32])
async def test_what_is_no_session_is_an_invalid_payload(auth: Auth, session: str) -> None:
    token = (await auth.register())["access_token"]
    response = await auth.client.delete(f"/auth/sessions/{session}", headers=bearer(token))
    assert (response.status_code, code(response)) == (422, "invalid_payload")
    assert code(await auth.client.delete(f"/auth/sessions/{session}")) == "missing_token"


async def test_logout_ends_the_session_and_says_nothing_of_unknown_tokens(auth: Auth, bus: Bus) -> None:
    granted = await auth.register()
    successor = (await refresh(auth, granted)).json()
    async with kicks_heard(bus) as heard:
        assert (await auth.post("/auth/logout", {"refresh_token": granted["refresh_token"]})).json() == {"ok": True}
        await until(lambda: heard)
    assert heard[0].logins == (session_of(granted),)
    assert code(await refresh(auth, successor)) == "revoked_token"
    assert code(await auth.get("/auth/me", successor["access_token"])) == "revoked_token"
    assert (await auth.post("/auth/logout", {"refresh_token": "unknown"})).json() == {"ok": True}
    assert code(await auth.post("/auth/refresh", {"refresh_token": "unknown"})) == "invalid_token"


async def test_a_gateway_that_missed_the_end_of_a_session_hears_of_it_when_it_asks(auth: Auth, bus: Bus) -> None:
    phone = await auth.register()
    laptop = (await auth.login()).json()
    held = [await identify(bus, each["access_token"]) for each in (phone, laptop)]
    assert [identity.login for identity in held] == [session_of(phone), session_of(laptop)]
    await auth.client.delete(f"/auth/sessions/{session_of(laptop)}", headers=bearer(phone["access_token"]))
    asked = [HeldUser(identity.user_id, identity.issued_at, 5.0, identity.login) for identity in held]
    answer = await bus.request(subjects.WELCOME, CheckWelcome(asked), UnwelcomeUsers)
    assert [(unwelcome.position, unwelcome.code) for unwelcome in answer.users] == [(1, "revoked_token")]


async def test_a_login_and_an_end_of_all_sessions_that_race_have_one_order(auth: Auth) -> None:
    granted = await auth.register()
    components, user_id = auth.components, granted["user_id"]
    async with components.database.transaction() as connection:
        user = await lock_user(connection, user_id)
        assert user is not None
        ending = asyncio.create_task(auth.client.delete("/auth/sessions", headers=bearer(granted["access_token"])))
        await asyncio.sleep(0.1)
        late = await components.sessions.begin(connection, user, Device(), "password")
    assert (await ending).json() == {"ended": 1}
    assert (await auth.get("/auth/me", late.access_token)).status_code == 401


@pytest.mark.parametrize("skew", [-120.0, 120.0])
async def test_a_clock_that_is_two_minutes_off_harms_nobody(
    database_url: str, nats_url: str, bus: Bus, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + skew)
    async with running_auth(database_url, nats_url, auth_access_ttl=60) as auth:
        granted = await auth.register()
        identity = await identify(bus, granted["access_token"])
        assert 50 < identity.valid_for <= 60
        await later(auth, 25)
        again = (await refresh(auth, granted)).json()
        assert (await auth.get("/auth/me", again["access_token"])).status_code == 200
        assert (await refresh(auth, granted)).status_code == 200
        # And a token is good for no longer, either.
        tells = auth.components.authenticator._now
        verifier = auth.components.authenticator._verifier
        for part in (verifier, verifier._providers[0]):
            monkeypatch.setattr(part, "_now", lambda: tells() + 61)
        assert code(await auth.get("/auth/me", again["access_token"])) == "expired_token"
