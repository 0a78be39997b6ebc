"""Who of those whom a gateway has let in is not welcome any more, as auth knows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import MAX_CHECKED, CheckWelcome, HeldUser, Unwelcome, UnwelcomeUsers
from tests.support.auth.identities import SECRET, external, identify, refusal
from tests.support.auth.service import Auth, running_auth
from tests.support.bus import rejected

BOB = "bob@example.com"


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url, auth_hs256_secret=SECRET) as running:
        yield running


async def check(bus: Bus, *held: HeldUser) -> list[tuple[int, str]]:
    """Who must go, by their place in the question, and why."""
    answer = await bus.request(subjects.WELCOME, CheckWelcome(list(held)), UnwelcomeUsers)
    return [(unwelcome.position, unwelcome.code) for unwelcome in answer.users]


async def test_guests_unknown_users_and_whom_nobody_has_refused_are_welcome(auth: Auth, bus: Bus):
    now = time.time()
    alice = await identify(bus, (await auth.register())["access_token"])
    held = [HeldUser(user, now, 5.0) for user in ("guest:1", "nobody@example.com", alice.user_id)]
    assert await check(bus, *held) == []
    assert await check(bus) == []


async def test_who_is_banned_must_go_and_is_told_why(auth: Auth, bus: Bus):
    bob = await identify(bus, external())
    held = HeldUser(bob.user_id, bob.issued_at, 5.0)
    admin = await auth.admin_token()
    await auth.post(f"/admin/users/{BOB}/ban", {"reason": "spam"}, admin)
    answer = await bus.request(subjects.WELCOME, CheckWelcome([held]), UnwelcomeUsers)
    assert answer.users == [Unwelcome(0, "banned", "You are banned: spam")]
    await auth.post(f"/admin/users/{BOB}/unban", token=admin)
    assert await check(bus, held) == []


async def test_a_revocation_ends_older_tokens_and_leaves_newer_ones(auth: Auth, bus: Bus):
    await identify(bus, external())
    await auth.post(f"/admin/users/{BOB}/revoke", token=await auth.admin_token())
    now = time.time()
    assert await check(bus, HeldUser(BOB, now - 10, 9.0), HeldUser(BOB, now + 1, 0.0)) == [(0, "revoked_token")]


async def test_who_was_deleted_must_go(auth: Auth, bus: Bus):
    alice = await identify(bus, (await auth.register())["access_token"])
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("DELETE FROM auth.users WHERE name = 'alice'"))
    assert await check(bus, HeldUser(alice.user_id, alice.issued_at, 5.0)) == [(0, "invalid_token")]


@pytest.mark.parametrize("user", ["guest:1", BOB])
async def test_a_kick_ends_who_was_here_before_it_and_nobody_who_came_after_it(auth: Auth, bus: Bus, user: str):
    admin = await auth.admin_token()
    await auth.post(f"/admin/users/{user}/kick", {"reason": "too loud"}, admin)
    held = [HeldUser(user, time.time(), age) for age in (60.0, 0.0)]
    answer = await bus.request(subjects.WELCOME, CheckWelcome(held), UnwelcomeUsers)
    assert answer.users == [Unwelcome(0, "kicked", "too loud")]


@pytest.mark.parametrize("user", ["guest", BOB, "carol"])
async def test_who_was_let_in_a_moment_before_a_kick_must_go_and_who_came_a_moment_after_it_may_stay(
    auth: Auth, bus: Bus, user: str
):
    """However close they are: what orders them is no time."""
    token = {"guest": "", BOB: external()}.get(user) or (await auth.register())["access_token"]
    before = await identify(bus, "" if user == "guest" else token, guest=user == "guest")
    await auth.post(f"/admin/users/{before.user_id}/kick", {"reason": "too loud"}, await auth.admin_token())
    after = before if user == "guest" else await identify(bus, token)
    # As a question says it that was on its way for as long as the connection was old.
    held = [HeldUser(user.user_id, user.issued_at, 0.0, user.login, kicks=user.kicks) for user in (before, after)]
    if user == "guest":
        # Nobody is that guest anew; one who was recovered is as they were.
        assert await check(bus, *held) == [(0, "kicked"), (1, "kicked")]
        return
    assert await check(bus, *held) == [(0, "kicked")]
    await auth.post(f"/admin/users/{before.user_id}/kick", {"reason": "again"}, await auth.admin_token())
    assert await check(bus, *held) == [(0, "kicked"), (1, "kicked")]


async def test_a_kick_under_a_clock_that_was_ahead_ends_nobody_who_comes_later_and_hides_no_other(auth: Auth, bus: Bus):
    admin = await auth.admin_token()
    for reason in ("first", "an hour ahead"):
        await auth.post(f"/admin/users/{BOB}/kick", {"reason": reason}, admin)
    async with auth.components.database.transaction() as connection:
        # No trigger then keeps the log from being changed.
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        ahead = "UPDATE auth.audit SET at = at + interval '1 hour' WHERE detail->>'reason' = 'an hour ahead'"
        await connection.execute(text(ahead))
    held = [HeldUser(BOB, time.time(), age) for age in (60.0, 0.0)]
    answer = await bus.request(subjects.WELCOME, CheckWelcome(held), UnwelcomeUsers)
    assert answer.users == [Unwelcome(0, "kicked", "first")]


async def test_a_thousand_users_are_one_statement_and_more_are_refused(auth: Auth, bus: Bus):
    held = [HeldUser(f"user-{number}", time.time(), 1.0) for number in range(MAX_CHECKED + 1)]
    statements: list[str] = []

    def collect(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", collect)
    try:
        assert await check(bus, *held[:-1]) == []
    finally:
        event.remove(Engine, "before_cursor_execute", collect)
    assert sum("unnest" in statement for statement in statements) == 1
    refused = await rejected(check(bus, *held))
    assert refused.code is Code.PAYLOAD_TOO_LARGE


async def test_an_identity_says_when_its_token_ends(auth: Auth, bus: Bus):
    ends = int(time.time()) + 60
    assert (await identify(bus, external(exp=ends))).expires_at == ends
    assert (await identify(bus, (await auth.register())["access_token"])).expires_at > ends
    assert (await identify(bus, "", guest=True)).expires_at == 0


async def test_a_token_of_the_second_of_a_revocation_is_refused_and_told_when_another_is_taken(auth: Auth, bus: Bus):
    admin = await auth.admin_token()
    await identify(bus, external())
    while not 0.05 < time.time() % 1 < 0.3:  # else the second may be over before the answer
        await asyncio.sleep(0.02)
    await auth.post(f"/admin/users/{BOB}/revoke", token=admin)
    refused: Reject = await refusal(bus, external())
    assert refused.code is Code.REVOKED_TOKEN
    assert not refused.retryable  # this very token will not do
    assert refused.data is not None
    assert 0 < refused.data["retry_after"] <= 1
    await asyncio.sleep(refused.data["retry_after"])
    assert (await identify(bus, external())).user_id == BOB
    assert (await refusal(bus, external(iat=int(time.time()) - 10))).data is None


async def test_who_was_here_before_a_kick_must_go_however_long_the_database_is_waited_for(
    auth: Auth, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    began, admin = time.monotonic(), await auth.admin_token()
    await auth.post(f"/admin/users/{BOB}/kick", {"reason": "too loud"}, admin)
    database = auth.components.database
    autocommit = database.autocommit

    @asynccontextmanager
    async def slowly() -> AsyncGenerator[Any]:
        await asyncio.sleep(1)
        async with autocommit() as connection:
            yield connection

    monkeypatch.setattr(database, "autocommit", slowly)
    here_before = time.monotonic() - began
    assert await check(bus, HeldUser(BOB, time.time(), here_before), HeldUser(BOB, time.time(), 0.0)) == [(0, "kicked")]
