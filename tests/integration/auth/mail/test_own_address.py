"""E-mail addresses of accounts: given, verified, changed, taken away, and linked to logins elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.auth.mail_server import MailServer, mail_server, settings_of, token_in
from tests.support.auth.second_factors import send
from tests.support.auth.service import PASSWORD, Auth, code, running_auth

ALICE = "Alice@example.org"


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as running:
        yield running


@pytest.fixture
async def auth(database_url: str, nats_url: str, server: MailServer) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url, **settings_of(server)) as running:
        yield running


async def give(auth: Auth, token: str, address: Any, password: str = PASSWORD) -> httpx.Response:
    return await send(auth, "PUT", "/auth/me/email", {"email": address, "password": password}, token)


async def confirm(auth: Auth, token: str, mailed: str) -> httpx.Response:
    return await auth.post("/auth/me/email/confirm", {"token": mailed}, token)


async def own(auth: Auth, token: str) -> str | None:
    return (await auth.get("/auth/me", token)).json()["email"]


async def test_an_address_counts_once_its_owner_has_confirmed_it(auth: Auth, server: MailServer) -> None:
    token = (await auth.register())["access_token"]
    assert (await give(auth, token, ALICE)).json() == {"ok": True}
    mail = await server.mail_to(ALICE)
    assert "'alice'" in mail.get_content()
    assert "http" not in mail.get_content()  # a link would be made of whatever the request's Host says
    assert await own(auth, token) is None
    mailed = token_in(mail)
    assert (await confirm(auth, token, mailed)).json() == {"email": ALICE}
    assert await own(auth, token) == ALICE
    assert code(await confirm(auth, token, mailed)) == "invalid_credentials"


async def test_links_lead_to_the_configured_address(database_url: str, nats_url: str, server: MailServer) -> None:
    settings = {**settings_of(server), "auth_public_url": "https://chat.example.com"}
    async with running_auth(database_url, nats_url, **settings) as auth:
        token = (await auth.register())["access_token"]
        body = {"email": ALICE, "password": PASSWORD}
        headers = {"authorization": f"Bearer {token}", "host": "evil.example", "x-forwarded-host": "evil.example"}
        await auth.client.put("/auth/me/email", json=body, headers=headers)
        text = (await server.mail_to(ALICE)).get_content()
        assert "https://chat.example.com/#verify=" in text
        assert "evil" not in text


async def test_whoever_has_somebody_else_confirm_their_address_gets_nothing(auth: Auth, server: MailServer) -> None:
    """An account with another's address would get their login elsewhere."""
    mallory = (await auth.register("mallory"))["access_token"]
    alice = (await auth.register())["access_token"]
    await give(auth, mallory, ALICE)
    mailed = await server.token_to(ALICE)
    assert code(await confirm(auth, alice, mailed)) == "invalid_credentials"
    assert code(await confirm(auth, "", mailed)) == "missing_token"
    assert await own(auth, mallory) is None


async def test_an_address_is_one_accounts_and_nobody_else_is_told_of_that(auth: Auth, server: MailServer) -> None:
    alice, bob = (await auth.register())["access_token"], (await auth.register("bob"))["access_token"]
    await give(auth, alice, ALICE)
    await give(auth, bob, ALICE.upper())
    first, second = await server.token_to(ALICE), await server.token_to(ALICE.upper())
    answers = await asyncio.gather(confirm(auth, alice, first), confirm(auth, bob, second))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    owner, other = (alice, bob) if answers[0].status_code == 200 else (bob, alice)
    assert (await give(auth, other, "alice@example.org")).json() == (await give(auth, other, "new@example.org")).json()
    told = await server.mail_to("alice@example.org")
    assert told["Subject"] == "Your e-mail address is in use already"
    assert await own(auth, owner) is not None
    assert await own(auth, other) is None


async def test_a_change_is_told_to_the_address_of_before_and_a_removal_too(auth: Auth, server: MailServer) -> None:
    token = (await auth.register())["access_token"]
    for address in (ALICE, "new@example.org"):
        await give(auth, token, address)
        await confirm(auth, token, await server.token_to(address))
    assert "not used any more" in (await server.mail_to(ALICE, 2)).get_content()
    gone = await send(auth, "DELETE", "/auth/me/email", {"password": PASSWORD}, token)
    assert gone.json() == {"ok": True}
    assert "taken from your account" in (await server.mail_to("new@example.org", 2)).get_content()
    assert await own(auth, token) is None
    assert code(await send(auth, "DELETE", "/auth/me/email", {"password": PASSWORD}, token)) == "not_found"


async def test_what_is_no_address_is_refused_and_so_is_who_does_not_know_the_password(auth: Auth) -> None:
    token = (await auth.register())["access_token"]
    for wrong in (
        "alice", "a@b", "@example.org", "a@", "a b@example.org", "a@example.org\nBcc: b@example.org", "a@example.org ",
        '"a"@example.org', "a..b@example.org", "a@-x.org", "ä@example.org", "a@exämple.org", "<a@b.org>", "a,b@c.org",
        "a" * 65 + "@example.org", "a@" + "x." * 130 + "org", "", None, 7, "a@[127.0.0.1]", "a@b.org\x00",
    ):  # fmt: skip
        assert code(await give(auth, token, wrong)) == "invalid_payload", wrong
    assert code(await give(auth, token, ALICE, "a wrong guess")) == "invalid_credentials"
    for wrong in ("x", "A" * 64, "\x00", "a b"):
        assert code(await confirm(auth, token, wrong)) in {"invalid_credentials", "invalid_payload"}


async def test_mails_to_one_address_are_few_whoever_has_them_sent(auth: Auth, server: MailServer) -> None:
    tokens = [(await auth.register(f"user{number}"))["access_token"] for number in range(6)]
    answers = [await give(auth, token, ALICE) for token in tokens]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert code(answers[-1]) == "rate_limited"


async def test_where_no_mail_is_sent_there_is_no_use_for_an_address(database_url: str, nats_url: str) -> None:
    settings = {"environment": "production", "nats_password": "of the broker"}
    # NATS of the tests asks for no password, and takes any.
    async with running_auth(database_url, nats_url, **settings) as auth:
        token = (await auth.register())["access_token"]
        assert code(await give(auth, token, ALICE)) == "forbidden"
        assert code(await auth.post("/auth/password-reset", {"identifier": "alice"})) == "forbidden"
        assert (await auth.get("/auth/providers")).json()["password_reset"] is False
