"""Logins in two steps: after the password a code of an app, or a recovery code; and passwords that must be changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from parley.auth.factors import code_guesses
from parley.common.nats.bus import Bus
from tests.support.auth.second_factors import code_of, demanded, send, ticket, with_app
from tests.support.auth.service import PASSWORD, Auth, code, running_auth
from tests.support.auth.sessions import kicks_heard, session_of
from tests.support.waiting import until

NEW = "another good password"


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url, auth_login_rate_username="1000/minute") as running:
        yield running


async def second(auth: Auth, given: str, **shown: Any) -> Any:
    return await auth.post("/auth/login/factor", {"ticket": given, **shown})


async def test_with_an_app_a_login_is_the_password_and_then_a_code(auth: Auth) -> None:
    user = await with_app(auth)
    auth.client.cookies.clear()
    answer = await auth.login()
    asked = demanded(answer)
    assert answer.status_code == 401
    assert asked["methods"] == ["totp", "recovery_code"]
    assert not answer.headers.get_list("set-cookie")
    assert "access_token" not in answer.text
    entered = await second(auth, asked["ticket"], code=code_of(auth, user.secret))
    assert entered.status_code == 200
    assert entered.headers.get_list("set-cookie")
    (session, _first) = (await auth.get("/auth/sessions", entered.json()["access_token"])).json()["sessions"]
    assert session["method"] == "password+totp"


async def test_who_does_not_know_the_password_is_not_told_that_there_is_a_second_step(auth: Auth) -> None:
    await with_app(auth)
    assert code(await auth.login(password="a wrong guess")) == "invalid_credentials"


async def test_a_ticket_and_a_code_work_once(auth: Auth) -> None:
    user = await with_app(auth)
    first, other = await ticket(auth), await ticket(auth)
    used = code_of(auth, user.secret)
    assert (await second(auth, first, code=used)).status_code == 200
    assert code(await second(auth, other, code=used)) == "invalid_credentials"
    # Nor one of before it, nor the ticket with the next one.
    assert code(await second(auth, other, code=code_of(auth, user.secret, -1))) == "invalid_credentials"
    assert code(await second(auth, first, code=code_of(auth, user.secret, 1))) == "invalid_credentials"
    assert (await second(auth, other, code=code_of(auth, user.secret, 1))).status_code == 200


async def test_of_many_uses_of_one_code_at_once_one_is_the_first(auth: Auth) -> None:
    user = await with_app(auth)
    tickets = [await ticket(auth) for _ in range(6)]
    used = code_of(auth, user.secret)
    answers = await asyncio.gather(*(second(auth, each, code=used) for each in tickets))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 5


async def test_a_recovery_code_works_once_however_it_is_written(auth: Auth) -> None:
    user = await with_app(auth)
    spoken = user.recovery_codes[0].upper().replace("-", " ")
    assert (await second(auth, await ticket(auth), recovery_code=spoken)).status_code == 200
    assert code(await second(auth, await ticket(auth), recovery_code=spoken)) == "invalid_credentials"
    assert (await auth.get("/auth/factors", user.token)).json()["recovery_codes_left"] == 9
    other = await with_app(auth, "mallory")
    assert code(await second(auth, await ticket(auth), recovery_code=other.recovery_codes[0])) == "invalid_credentials"


async def test_guesses_are_counted_by_user_and_let_in_whoever_was_in_before(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_guesses, "STRANGERS", 3)
    monkeypatch.setattr(code_guesses, "KNOWN", 2)
    user = await with_app(auth)
    known = dict(auth.client.cookies)
    auth.client.cookies.clear()
    wrong = "000000" if code_of(auth, user.secret) != "000000" else "000001"
    tickets = [await ticket(auth) for _ in range(6)]
    guesses = await asyncio.gather(*(second(auth, each, code=wrong) for each in tickets))
    assert sorted(code(answer) for answer in guesses) == ["invalid_credentials"] * 3 + ["rate_limited"] * 3
    right = code_of(auth, user.secret)
    refused = await second(auth, await ticket(auth), code=right)
    assert code(refused) == "rate_limited"
    assert int(refused.headers["retry-after"]) > 3600
    # A recovery code is not guessed, and a device that was let in before has its own count.
    assert (await second(auth, await ticket(auth), recovery_code=user.recovery_codes[0])).status_code == 200
    auth.client.cookies.clear()
    assert code(await second(auth, await ticket(auth), code=right)) == "rate_limited"
    auth.client.cookies.update(known)
    assert (await second(auth, await ticket(auth), code=right)).status_code == 200
    guesses = [await second(auth, await ticket(auth), code=wrong) for _ in range(3)]
    assert [code(answer) for answer in guesses] == ["invalid_credentials"] * 2 + ["rate_limited"]
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("UPDATE auth.code_guesses SET since = since - interval '1 day'"))
    assert code(await second(auth, await ticket(auth), code=wrong)) == "invalid_credentials"


SHOWN: list[tuple[dict[str, Any], str]] = [
    ({}, "invalid_payload"),
    ({"code": "12345"}, "invalid_payload"),
    ({"code": "123456\n"}, "invalid_payload"),
    ({"code": "１２３４５６"}, "invalid_payload"),  # noqa: RUF001
    ({"code": 123456}, "invalid_payload"),
    ({"code": "123456", "recovery_code": "x"}, "invalid_payload"),
    ({"recovery_code": ""}, "invalid_payload"),
    ({"recovery_code": "x" * 65}, "invalid_payload"),
    ({"recovery_code": "\x00"}, "invalid_credentials"),
    ({"passkey": {}}, "invalid_payload"),
    ({"passkey": "x"}, "invalid_payload"),
]


async def test_what_is_no_factor_and_what_is_no_ticket_is_refused(auth: Auth) -> None:
    await with_app(auth)
    good = await ticket(auth)
    answers = [code(await second(auth, good, **shown)) for shown, _ in SHOWN]
    assert answers == [refused for _, refused in SHOWN]
    for given in ("x", "A" * 200, "é", "a b", "=" * 10, "\x00", good[:-1] + ("A" if good[-1] != "A" else "B")):
        assert code(await second(auth, given, code="123456")) == "invalid_credentials"
        body = {"ticket": given, "new_password": NEW}
        assert code(await auth.post("/auth/login/password", body)) == "invalid_credentials"


async def test_a_ticket_is_void_once_the_password_changed_or_all_was_revoked(auth: Auth) -> None:
    user = await with_app(auth)
    before = await ticket(auth)
    admin = await auth.admin_token()
    assert (await auth.post(f"/admin/users/{user.user_id}/revoke", {}, admin)).status_code == 200
    assert code(await second(auth, before, code=code_of(auth, user.secret))) == "expired_token"
    before = await ticket(auth)
    path = f"/admin/users/{user.user_id}/password"
    assert (await send(auth, "PUT", path, {"password": NEW}, admin)).status_code == 200
    assert code(await second(auth, before, code=code_of(auth, user.secret))) == "expired_token"
    assert (await second(auth, await ticket(auth, password=NEW), code=code_of(auth, user.secret))).status_code == 200


async def test_a_banned_user_is_told_so_after_the_password_and_after_the_factor(auth: Auth) -> None:
    user = await with_app(auth)
    before = await ticket(auth)
    await auth.post(f"/admin/users/{user.user_id}/ban", {"reason": "spam"}, await auth.admin_token())
    assert code(await auth.login()) == "banned"
    assert code(await second(auth, before, code=code_of(auth, user.secret))) == "banned"


async def test_a_password_that_has_to_be_changed_lets_in_only_with_another_one(auth: Auth, bus: Bus) -> None:
    granted = await auth.register()
    admin = await auth.admin_token()
    async with kicks_heard(bus) as heard:
        answer = await auth.post(f"/admin/users/{granted['user_id']}/password-change", {}, admin)
        assert answer.status_code == 200, answer.text
        await until(lambda: heard, "the user's connections end")
    assert (await auth.get("/auth/me", granted["access_token"])).status_code == 401
    login = await auth.login()
    asked = demanded(login, "password_change_required")
    assert (login.status_code, "access_token" in login.text) == (403, False)

    async def change(password: str) -> Any:
        return await auth.post("/auth/login/password", {"ticket": asked["ticket"], "new_password": password})

    for weak in (PASSWORD, "short", "x" * 257):
        assert code(await change(weak)) == "invalid_payload"
    entered = await change(NEW)
    assert (await auth.get("/auth/me", entered.json()["access_token"])).status_code == 200
    assert code(await change("a third good password")) == "expired_token"
    assert code(await auth.login()) == "invalid_credentials"
    assert (await auth.login(password=NEW)).status_code == 200
    audit = (await auth.get("/admin/audit", admin, action="user.password_change")).json()["entries"]
    assert [(entry["target"], entry["after"]) for entry in audit] == [(granted["user_id"], {"required": True})]


async def test_who_is_in_otherwise_does_not_change_a_password_that_has_to_be_changed_to_itself(auth: Auth) -> None:
    token = (await auth.register())["access_token"]
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("UPDATE auth.users SET password_change_required = true"))
    change = {"current_password": PASSWORD, "new_password": PASSWORD}
    assert code(await send(auth, "PUT", "/auth/password", change, token)) == "invalid_payload"
    assert (await send(auth, "PUT", "/auth/password", change | {"new_password": NEW}, token)).status_code == 200
    assert (await auth.login(password=NEW)).status_code == 200


async def test_a_password_to_be_changed_is_asked_for_after_the_factor(auth: Auth) -> None:
    user = await with_app(auth)
    admin = await auth.admin_token()
    body = {"password": NEW, "change_at_login": True}
    await send(auth, "PUT", f"/admin/users/{user.user_id}/password", body, admin)
    first = await ticket(auth, password=NEW)
    answer = await auth.post("/auth/login/password", {"ticket": first, "new_password": "a third good password"})
    assert code(answer) == "invalid_credentials"
    asked = demanded(await second(auth, first, code=code_of(auth, user.secret)), "password_change_required")
    body = {"ticket": asked["ticket"], "new_password": "a third good password"}
    granted = (await auth.post("/auth/login/password", body)).json()
    (session,) = (await auth.get("/auth/sessions", granted["access_token"])).json()["sessions"]
    assert (session["id"], session["method"]) == (session_of(granted), "password+totp")
