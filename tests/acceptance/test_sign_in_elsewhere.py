"""Logging in at a real provider of OpenID Connect, with stock clients and in a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from playwright.async_api import expect

from tests.support.clients import chromium
from tests.support.clients.plain_http import plain_http
from tests.support.clients.stock_clients import PythonClient
from tests.support.ports import free_port
from tests.support.stack.identity_provider import HAS_PROVIDER, IdentityProvider, Person
from tests.support.stack.one_command import OneCommand
from tests.support.waiting import until

Company = tuple[OneCommand, IdentityProvider]
Visit = Callable[[str], Person]

pytestmark = pytest.mark.skipif(not HAS_PROVIDER, reason="needs Node and npm ci in tests/support/node")


@pytest.fixture(scope="module")
async def company(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Company]:
    """A stack, and the provider that its people log in at."""
    directory = tmp_path_factory.mktemp("company")
    port = free_port()
    provider = IdentityProvider(free_port(), f"http://127.0.0.1:{port}", directory / "provider.log")
    stack = OneCommand(directory / "data", port=port, settings=provider.settings(directory))
    await provider.start()
    await asyncio.to_thread(stack.wait_until_ready)
    yield stack, provider
    provider.stop()
    await provider.http.aclose()
    assert await asyncio.to_thread(stack.stop) == 0, stack.printed


@pytest.fixture
async def visit(company: Company) -> AsyncIterator[Visit]:
    """Makes people with browsers, which are closed in the end."""
    people: list[Person] = []

    def someone(name: str) -> Person:
        people.append(Person(name, company[0].url))
        return people[-1]

    yield someone
    for person in people:
        await person.http.aclose()


async def granted(person: Person) -> dict[str, Any]:
    """The grant of a login that goes well."""
    ended = await person.log_in()
    assert "code" in ended, ended
    response = await person.exchange(ended["code"])
    assert response.status_code == 200, response.text
    return response.json()


async def joined(stack: OneCommand, grant: dict[str, Any]) -> PythonClient:
    """A stock client with this grant's token."""
    client = PythonClient()
    await client.start(stack.url, "/chat", {"token": grant["access_token"]}, ["websocket"])
    await client.connected()
    return client


async def test_who_logs_in_at_the_provider_joins_with_a_stock_client(company: Company, visit: Visit) -> None:
    stack, _ = company
    ada, root = visit("ada"), visit("root")
    grant = await granted(ada)
    client = await joined(stack, grant)
    made = await client.emit("room.create", {"id": "1", "name": "Elsewhere"})
    assert made["ok"], made
    async with plain_http() as http:
        token = {"Authorization": f"Bearer {grant['access_token']}"}
        me = (await http.get(f"{stack.url}/auth/me", headers=token)).json()
        assert (me["user_id"], me["name"], me["roles"]) == (grant["user_id"], "Ada of the company", [])
        admin = {"Authorization": f"Bearer {(await granted(root))['access_token']}"}
        seen = (await http.get(f"{stack.url}/admin/users/{grant['user_id']}", headers=admin)).json()
        assert (seen["kind"], seen["username"]) == ("external", None)
    assert (await granted(ada))["user_id"] == grant["user_id"]
    await client.stop()


async def test_a_stolen_code_and_a_replayed_answer_are_refused(visit: Visit) -> None:
    ada, eve = visit("ada"), visit("eve")
    answer = await ada.go()
    assert (await eve.come_back(answer))["error"] == "expired_token"
    ended = await ada.come_back(answer)
    assert (await eve.exchange(ended["code"])).json()["error"]["code"] == "invalid_credentials"
    assert (await ada.exchange(ended["code"])).status_code == 401, "it was used up by the try"
    assert (await ada.come_back(answer))["error"] == "expired_token"
    forged = answer.replace("iss=http%3A%2F%2F127.0.0.1", "iss=http%3A%2F%2Fevil")
    assert forged != answer
    answer = await ada.go()
    forged = answer.replace("iss=http%3A%2F%2F127.0.0.1", "iss=http%3A%2F%2Fevil")
    assert (await ada.come_back(forged))["error"] == "invalid_token"


async def test_a_logout_at_the_provider_ends_the_connection_and_its_token(company: Company, visit: Visit) -> None:
    stack, provider = company
    ada, ada_elsewhere = visit("ada"), visit("ada")
    grant = await granted(ada)
    client, other = await joined(stack, grant), await joined(stack, await granted(ada_elsewhere))
    await ada.log_out_at(provider)
    await client.until(lambda: client.disconnects, "the end of the connection")
    again = PythonClient()
    await again.start(stack.url, "/chat", {"token": grant["access_token"]}, ["websocket"])
    await again.until(lambda: again.errors, "the refusal of its token")
    assert again.errors[0]["data"]["code"] == "revoked_token"
    assert not other.disconnects, "another session of the same user at the provider goes on"
    assert (await other.emit("room.create", {"id": "2", "name": "Goes on"}))["ok"]
    for each in (client, other, again):
        await each.stop()


@pytest.mark.browser
@chromium.NEEDED
async def test_the_page_leads_to_the_provider_and_back_and_out_of_both(company: Company, visit: Visit) -> None:
    stack, _ = company
    async with chromium.launched() as browser:
        page = await browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(stack.url)
        await expect(page.get_by_test_id("provider-company")).to_have_text("Company account")
        await page.get_by_test_id("provider-company").click()
        await page.locator("[name=login]").fill("grace")
        await page.locator("[name=password]").fill("any")
        await page.locator("[type=submit]").click()
        await expect(page.get_by_test_id("me")).to_have_text("Grace of the company")
        await expect(page.get_by_test_id("status-dot")).to_have_attribute("data-status", "online")
        assert page.url == f"{stack.url}/", "the code is no part of the address any more"
        await page.reload()
        await expect(page.get_by_test_id("me")).to_have_text("Grace of the company")
        # Somebody else's code, in an address that one is made to open, logs nobody in.
        stranger = await browser.new_page()
        ended = await visit("eve").log_in()
        await stranger.goto(f"{stack.url}/?code={ended['code']}")
        await expect(stranger.get_by_test_id("session-notice")).to_contain_text("log in again")
        assert stranger.url == f"{stack.url}/"
        await page.get_by_test_id("user-menu").click()
        await page.get_by_test_id("sign-out").click()
        await page.locator("[name=logout]").click()
        await expect(page.get_by_test_id("provider-company")).to_be_visible()
        await page.get_by_test_id("provider-company").click()
        await expect(page.locator("[name=login]")).to_be_visible()
        assert errors == []


async def test_the_provider_may_change_its_keys(company: Company, visit: Visit) -> None:
    _, provider = company
    await granted(visit("ada"))
    await provider.change_keys()

    async def logged_in() -> bool:
        return "code" in await visit("ada").log_in()

    # Keys of a set that was fetched just now are not fetched again for ten seconds.
    await until(logged_in, "a login by the new key", 30)


async def test_who_is_logged_in_goes_on_while_the_provider_is_away(company: Company, visit: Visit) -> None:
    stack, provider = company
    ada = visit("ada")
    grant = await granted(ada)
    client = await joined(stack, grant)
    answer = await ada.go()
    provider.stop()
    assert (await ada.come_back(answer))["error"] == "unavailable"
    refreshed = await ada.http.post(f"{stack.url}/auth/refresh", json={"refresh_token": grant["refresh_token"]})
    assert refreshed.status_code == 200
    late = await joined(stack, refreshed.json())
    assert (await client.emit("room.create", {"id": "3", "name": "Goes on"}))["ok"]
    assert not client.disconnects
    await provider.start()
    for each in (client, late):
        await each.stop()
