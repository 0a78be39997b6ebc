"""Limits on guessing: they hit who guesses, and nobody is locked out by others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from parley.auth.accounts import accounts
from parley.auth.accounts.guessing import login_limits
from parley.auth.accounts.guessing.login_limits import MAX_DELAY, Rank
from tests.support.auth.service import ADMIN_PASSWORD, PASSWORD, Auth, code, running_auth

WRONG = "a wrong password"


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


def at(auth: Auth, address: str) -> httpx.AsyncClient:
    """A client at another address, without cookies of any login."""
    transport = httpx.ASGITransport(auth.app, raise_app_exceptions=False, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://auth")


async def login(client: httpx.AsyncClient, username: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/auth/login", json={"username": username, "password": password})


async def test_wrong_guesses_of_a_stranger_lock_nobody_out(auth: Auth) -> None:
    stranger, admin = at(auth, "10.0.0.1"), at(auth, "10.0.0.2")
    guesses = await asyncio.gather(*(login(stranger, "admin", WRONG) for _ in range(15)))
    assert sorted(response.status_code for response in guesses) == [401] * 10 + [429] * 5
    assert (await login(admin, "ADMIN", ADMIN_PASSWORD)).status_code == 200
    refused = await login(stranger, "admin", ADMIN_PASSWORD)
    assert code(refused) == "rate_limited"
    assert 0 < int(refused.headers["retry-after"]) <= 60


async def test_guesses_from_everywhere_slow_down_nobody_else_and_who_goes_on_is_slowed(auth: Auth) -> None:
    await auth.register()
    for number in range(3):
        await asyncio.gather(*(login(at(auth, f"10.1.{number}.{host}"), "alice", WRONG) for host in range(10)))
    for client in (auth.client, at(auth, "10.9.9.9")):
        began = time.monotonic()
        assert (await login(client, "alice")).status_code == 200
        assert time.monotonic() - began < MAX_DELAY
    guesser = at(auth, "10.1.0.1")
    for _ in range(6):
        assert (await login(guesser, "alice", WRONG)).status_code == 401
    began = time.monotonic()
    assert (await login(guesser, "alice", WRONG)).status_code == 401
    assert time.monotonic() - began >= 4 * login_limits.STEP_SECONDS


async def test_a_device_that_logged_in_before_is_let_in_beside_a_guesser_at_its_address(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_limits, "STEP_SECONDS", 0.0)
    await auth.register()
    device, guesser = at(auth, "10.0.0.3"), at(auth, "10.0.0.3")
    assert (await login(device, "alice")).status_code == 200
    for user in ("alice", *(f"user{number}" for number in range(6))):
        for _ in range(6 if user == "alice" else 1):
            await asyncio.gather(*(login(guesser, user, WRONG) for _ in range(10)))
    assert code(await login(guesser, "alice", PASSWORD)) == "rate_limited"
    assert code(await login(guesser, "bob", PASSWORD)) == "rate_limited"
    assert (await login(device, "alice")).status_code == 200
    (cookie,) = device.cookies.jar
    assert (cookie.path, cookie.secure, cookie.has_nonstandard_attr("HttpOnly")) == ("/auth", False, True)


async def test_a_device_is_known_for_a_user_however_they_spell_their_name_and_not_for_the_next_of_that_name(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_limits, "STEP_SECONDS", 0.0)
    await auth.register("alice")
    device = at(auth, "10.0.0.3")
    granted = (await login(device, "Alice")).json()
    # Another address, so that only the device can be known there.
    laptop, stranger = at(auth, "10.0.0.4"), at(auth, "10.0.0.4")
    laptop.cookies.update(device.cookies)

    async def use_up(name: str) -> None:
        guesses = await asyncio.gather(*(login(stranger, name, WRONG) for _ in range(11)))
        assert [guess.status_code for guess in guesses].count(429) >= 1

    await use_up("alice")
    for spelling in ("alice", "ALICE", "aLiCe"):
        assert (await login(laptop, spelling)).status_code == 200
    async with auth.components.database.transaction() as connection:
        renamed = "UPDATE auth.users SET username = 'alina', username_key = 'alina' WHERE username_key = 'alice'"
        await connection.execute(text(renamed))
    await use_up("alina")
    assert (await login(laptop, "alina")).status_code == 200
    body, headers = {"password": PASSWORD}, {"authorization": f"Bearer {granted['access_token']}"}
    assert (await device.request("DELETE", "/auth/me", json=body, headers=headers)).status_code == 200
    assert (
        await at(auth, "10.9.9.9").post("/auth/register", json={"username": "alina", "password": "another one 7"})
    ).is_success
    await use_up("alina")
    # Whoever had the name guesses at its new owner like anybody else.
    assert code(await login(laptop, "alina", "another one 7")) == "rate_limited"


async def test_a_proof_for_somebody_else_is_looked_up_at_a_rate_and_spares_nobody_the_limits(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_limits, "STEP_SECONDS", 0.0)
    await auth.register("alice")
    mallory = at(auth, "10.0.0.5")
    await mallory.post("/auth/register", json={"username": "mallory", "password": PASSWORD})
    for _ in range(10):
        assert code(await login(mallory, "alice", WRONG)) == "invalid_credentials"
    assert code(await login(mallory, "alice", PASSWORD)) == "rate_limited"


async def test_successes_and_outages_use_nothing_up(
    database_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_auth(database_url, nats_url, auth_login_rate_username="2/minute") as auth:
        await auth.register()
        client = at(auth, "10.0.0.4")
        for _ in range(5):
            assert (await login(client, "alice")).status_code == 200
        # Who is refused for another reason has not guessed.
        monkeypatch.setattr(accounts, "MAX_SLOWED", -1)
        monkeypatch.setattr(login_limits, "UNSLOWED", -1)
        another = at(auth, "10.0.0.6")
        for _ in range(5):
            assert code(await login(another, "alice", WRONG)) == "overloaded"
        monkeypatch.setattr(accounts, "MAX_SLOWED", 10)
        assert (await login(another, "alice")).status_code == 200


async def test_registrations_are_limited_by_address(database_url: str, nats_url: str) -> None:
    async with running_auth(database_url, nats_url, auth_register_rate_address="10/minute") as auth:

        async def register(address: str, name: str) -> httpx.Response:
            body = {"username": name, "password": PASSWORD}
            return await at(auth, address).post("/auth/register", json=body)

        made = await asyncio.gather(*(register("2001:db8::1", f"user{number}") for number in range(11)))
        assert sorted(response.status_code for response in made) == [200] * 10 + [429]
        refused = await register("2001:db8::ffff", "another")
        assert (code(refused), "retry-after" in refused.headers) == ("rate_limited", True)
        assert (await register("2001:db8:1::1", "another")).status_code == 200


async def test_a_registration_that_finds_no_place_has_not_been_to_the_database(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    await auth.register()
    body = {"username": "alice", "password": PASSWORD}
    assert code(await auth.post("/auth/register", body)) == "already_exists"
    places = auth.components.passwords._registrations
    monkeypatch.setattr(places, "_busy", 1)
    monkeypatch.setattr(places, "admits", lambda _: False)
    assert code(await auth.post("/auth/register", body)) == "overloaded"


async def test_during_a_spray_of_passwords_every_rightful_login_succeeds(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More guesses than can be hashed, and the five at whom they go log in meanwhile; `bench.spray` measures it."""
    users = [f"user{number}" for number in range(5)]
    homes = {user: at(auth, f"10.2.0.{number}") for number, user in enumerate(users)}
    for user in users:
        await homes[user].post("/auth/register", json={"username": user, "password": PASSWORD})
    passwords: Any = auth.components.accounts._passwords
    fits = passwords._hasher.verify

    def slowly(*arguments: Any) -> Any:
        # As long as a real hash takes on a slow machine.
        time.sleep(0.05)
        return fits(*arguments)

    monkeypatch.setattr(passwords, "_hasher", _Slow(passwords._hasher, slowly))
    over = False

    async def spray(number: int) -> list[int]:
        client, answers = at(auth, f"10.3.0.{number}"), list[int]()
        while not over:
            answers.append((await login(client, users[number % 5], WRONG)).status_code)
            await asyncio.sleep(0.1)
        return answers

    attackers = [asyncio.create_task(spray(number)) for number in range(40)]
    for round_ in range(3):
        await asyncio.sleep(0.25)
        for user in users:
            # At home, and in the last round with a new device elsewhere.
            client = homes[user] if round_ < 2 else at(auth, f"10.4.0.{user[-1]}")
            assert (await login(client, user)).status_code == 200
    over = True
    answers = [status for each in await asyncio.gather(*attackers) for status in each]
    assert {401} < {*answers} <= {401, 429, 503}


async def test_a_guess_that_is_refused_reaches_neither_the_app_nor_the_database(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    await auth.register()
    home = auth.components.accounts
    assert (await login(at(auth, "10.5.0.1"), "alice")).status_code == 200
    places = auth.components.passwords
    # Every place is taken by others who have hardly tried.
    monkeypatch.setattr(places._logins, "admits", lambda rank: rank < Rank(True, 1))
    turns: list[Rank] = []
    turn = places.turn
    monkeypatch.setattr(places, "turn", lambda rank: (turns.append(rank), turn(rank))[1])
    # Sprayed from where somebody has logged in, and from elsewhere: the first of each is looked at.
    for address in ("10.5.0.1", "10.5.1.1"):
        guesses = [await login(at(auth, address), f"user{number}", WRONG) for number in range(5)]
        assert [guess.status_code for guess in guesses] == [401] + [503] * 4
        assert code(guesses[-1]) == "overloaded"
        assert [guess.headers.get("x-request-id") is None for guess in guesses] == [False] + [True] * 4
    assert len(turns) == 2
    assert (await login(at(auth, "10.5.0.1"), "alice")).status_code == 200
    # The app refuses what cannot be read, in its own words.
    broken = await at(auth, "10.5.0.1").post("/auth/login", content=b'{"username": 1')
    assert code(broken) == "invalid_payload"
    assert home.refusal_of("alice", "10.5.0.1") is None


async def test_what_refused_guesses_are_told_is_not_told_to_others(database_url: str, nats_url: str) -> None:
    pages = ["https://one.example", "https://two.example"]
    async with running_auth(database_url, nats_url, cors_origins=pages) as auth:
        auth.components.passwords._logins.admits = lambda _: False  # type: ignore[method-assign]
        client = at(auth, "10.5.0.1")
        for page in (*pages, ""):
            body = {"username": "alice", "password": WRONG}
            refused = await client.post("/auth/login", json=body, headers={"origin": page} if page else {})
            assert code(refused) == "overloaded"
            assert refused.headers.get_list("access-control-allow-origin") == ([page] if page else [])


class _Slow:
    """A password hasher whose `verify` is another."""

    def __init__(self, hasher: Any, verify: Any) -> None:
        self.verify, self.hash, self.check_needs_rehash = verify, hasher.hash, hasher.check_needs_rehash
