"""Forgotten passwords: asked for alike by everybody, set once by who reads the mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from parley.common.nats.bus import Bus
from tests.support.auth.mail_server import MailServer, mail_server, settings_of
from tests.support.auth.second_factors import code_of, demanded, proof, send
from tests.support.auth.service import PASSWORD, Auth, code, running_auth
from tests.support.auth.sessions import kicks_heard
from tests.support.waiting import until

ADDRESS = "alice@example.org"
NEW = "another good password"


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as running:
        yield running


@pytest.fixture
async def auth(database_url: str, nats_url: str, server: MailServer) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url, **settings_of(server)) as running:
        yield running


async def with_address(auth: Auth, server: MailServer, username: str = "alice", address: str = ADDRESS) -> Any:
    granted = await auth.register(username)
    token = granted["access_token"]
    await send(auth, "PUT", "/auth/me/email", {"email": address, "password": PASSWORD}, token)
    await auth.post("/auth/me/email/confirm", {"token": await server.token_to(address)}, token)
    return granted


async def ask(auth: Auth, identifier: str = "alice") -> httpx.Response:
    return await auth.post("/auth/password-reset", {"identifier": identifier})


async def reset(auth: Auth, token: str, password: str = NEW) -> httpx.Response:
    return await auth.post("/auth/password-reset/confirm", {"token": token, "new_password": password})


async def test_a_reset_does_not_keep_the_password_that_an_administrator_wants_changed(
    auth: Auth, server: MailServer
) -> None:
    granted, admin = await with_address(auth, server), await auth.admin_token()
    await auth.post(f"/admin/users/{granted['user_id']}/password-change", {}, admin)
    await ask(auth)
    mailed = await server.token_to(ADDRESS, 2)
    assert code(await reset(auth, mailed, PASSWORD)) == "invalid_payload"
    assert (await reset(auth, mailed)).status_code == 200
    assert (await auth.login("alice", NEW)).status_code == 200


async def test_a_forgotten_password_is_set_by_mail_and_everything_of_before_ends(
    auth: Auth, server: MailServer, bus: Bus
) -> None:
    granted = await with_address(auth, server)
    assert (await ask(auth)).json() == {"ok": True}
    mailed = await server.token_to(ADDRESS, 2)
    for weak in ("short", "x" * 257):
        assert code(await reset(auth, mailed, weak)) == "invalid_payload"
    async with kicks_heard(bus) as heard:
        assert (await reset(auth, mailed)).json() == {"ok": True}
        await until(lambda: heard, "the user's connections end")
    assert (await auth.get("/auth/me", granted["access_token"])).status_code == 401
    assert (await auth.post("/auth/refresh", {"refresh_token": granted["refresh_token"]})).status_code == 401
    assert code(await auth.login()) == "invalid_credentials"
    assert (await auth.login(password=NEW)).status_code == 200
    assert code(await reset(auth, mailed, "a third good password")) == "invalid_credentials"
    assert "was reset by a link" in (await server.mail_to(ADDRESS, 3)).get_content()
    entries = (await auth.get("/admin/audit", await auth.admin_token(), action="user.password_reset")).json()["entries"]
    assert [(entry["target"], entry["detail"]) for entry in entries] == [(granted["user_id"], {"by": "mail"})]
    assert ADDRESS not in str(entries)


async def test_whoever_asks_is_told_the_same_and_only_the_verified_address_gets_mail(
    auth: Auth, server: MailServer
) -> None:
    await with_address(auth, server)
    pending = (await auth.register("bob"))["access_token"]
    await send(auth, "PUT", "/auth/me/email", {"email": "bob@example.org", "password": PASSWORD}, pending)
    await server.mail_to("bob@example.org")
    names = ("nobody", "bob", "bob@example.org", "eve@example.org", "admin", "ALICE@Example.org")
    answers = [await ask(auth, name) for name in names]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, '{"ok":true}')}
    # What was asked last was looked at last.
    assert (await server.mail_to(ADDRESS, 2))["Subject"] == "A new password"
    assert len(server.taken) == 3
    assert (await reset(auth, await server.token_to(ADDRESS, 2))).status_code == 200


async def test_of_many_uses_of_a_token_at_once_one_is_the_first(auth: Auth, server: MailServer) -> None:
    await with_address(auth, server)
    await ask(auth)
    mailed = await server.token_to(ADDRESS, 2)
    passwords = [f"password number {number}" for number in range(4)]
    answers = await asyncio.gather(*(reset(auth, mailed, password) for password in passwords))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    (set_one,) = [password for password, answer in zip(passwords, answers, strict=True) if answer.status_code == 200]
    assert (await auth.login(password=set_one)).status_code == 200


async def test_a_token_is_void_after_its_time_another_password_or_the_loss_of_the_address(
    auth: Auth, server: MailServer
) -> None:
    granted = await with_address(auth, server)
    token = granted["access_token"]
    await ask(auth)
    mailed = await server.token_to(ADDRESS, 2)
    for change in ("- interval '1 day'", "+ interval '1 day'"):
        async with auth.components.database.transaction() as connection:
            await connection.execute(text(f"UPDATE auth.mail_tokens SET expires_at = expires_at {change}"))
        if change.startswith("-"):
            assert code(await reset(auth, mailed)) == "invalid_credentials"
    # What verifies an address resets nothing.
    await send(auth, "PUT", "/auth/me/email", {"email": "new@example.org", "password": PASSWORD}, token)
    verify = await server.token_to("new@example.org")
    assert code(await reset(auth, verify)) == "invalid_credentials"
    assert (await auth.post("/auth/me/email/confirm", {"token": verify}, token)).status_code == 200
    assert code(await reset(auth, mailed)) == "invalid_credentials"
    await ask(auth)
    mailed = await server.token_to("new@example.org", 2)
    body = {"current_password": PASSWORD, "new_password": NEW}
    assert (await send(auth, "PUT", "/auth/password", body, token)).status_code == 200
    assert code(await reset(auth, mailed, "a third good password")) == "invalid_credentials"
    assert (await auth.login(password=NEW)).status_code == 200


async def test_a_second_factor_is_asked_for_after_a_reset_too(auth: Auth, server: MailServer) -> None:
    granted = await with_address(auth, server)
    token = granted["access_token"]
    made = (await auth.post("/auth/factors/totp", {"proof": await proof(auth, token)}, token)).json()
    await auth.post("/auth/factors/totp/confirm", {"code": code_of(auth, made["secret"])}, token)
    assert "authenticator app is asked for" in (await server.mail_to(ADDRESS, 2)).get_content()
    await ask(auth)
    assert (await reset(auth, await server.token_to(ADDRESS, 3))).status_code == 200
    demanded(await auth.login(password=NEW))


async def test_requests_are_limited_by_address_and_mails_by_account(auth: Auth, server: MailServer) -> None:
    await with_address(auth, server)
    await with_address(auth, server, "bob", "bob@example.org")
    answers = [await ask(auth) for _ in range(8)]
    answers += [await ask(auth, "bob")]
    await server.mail_to("bob@example.org", 2)
    # One to verify, and five within the hour; who has no more has one that is still good.
    assert len([mail for mail in server.taken if mail["To"] == ADDRESS]) == 6
    answers += [await ask(auth, "nobody") for _ in range(22)]
    assert [answer.status_code for answer in answers] == [200] * 30 + [429]
    assert int(answers[-1].headers["retry-after"]) > 60


async def test_requests_beyond_those_that_may_wait_are_refused_whomever_they_are_about(
    auth: Auth, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resets = auth.components.password_resets
    monkeypatch.setattr(resets, "_asked", asyncio.Queue(1))
    assert [(await ask(auth, name)).status_code for name in ("nobody", "alice", "nobody")] == [200, 503, 503]


async def test_what_is_no_request_is_refused(auth: Auth) -> None:
    for wrong in ("", "a", "a b", "x" * 255, "ä@example.org", "alice\n", "\x00\x00\x00", None, 7, ["alice"]):
        assert code(await auth.post("/auth/password-reset", {"identifier": wrong})) == "invalid_payload", wrong
    for wrong in ("", "x" * 65, "é", "a b", None):
        body = {"token": wrong, "new_password": NEW}
        assert code(await auth.post("/auth/password-reset/confirm", body)) == "invalid_payload"
    answers = [await reset(auth, f"guess{number}") for number in range(31)]
    assert [code(answer) for answer in answers[-2:]] == ["invalid_credentials", "rate_limited"]
