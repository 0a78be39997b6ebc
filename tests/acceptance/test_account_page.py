"""The page's account dialog and sign-in card in a real browser: an address, an app, a passkey, a forgotten password."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import Browser, Page, expect
from pyotp.totp import TOTP

from tests.support.clients import chromium
from tests.support.stack.one_command import OneCommand
from tests.support.waiting import until

PASSWORD = "correct horse battery"
NEW = "another good password"

pytestmark = [pytest.mark.browser, chromium.NEEDED]


class Person:
    """Somebody at the page, which is open at `localhost`: browsers have no passkeys for addresses."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    @classmethod
    async def signed_up(cls, browser: Browser, url: str) -> Person:
        person = cls(await chromium.opened(browser), f"ada-{uuid.uuid4().hex[:8]}")
        await person.page.goto(url.replace("127.0.0.1", "localhost"))
        await person.fill(username=person.name, password=PASSWORD)
        await person.click("sign-in-submit")
        await person.is_in()
        return person

    async def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            await self.page.get_by_test_id(name.replace("_", "-")).fill(value)

    async def click(self, *names: str) -> None:
        for name in names:
            await self.page.get_by_test_id(name).click()

    async def is_in(self) -> None:
        await expect(self.page.get_by_test_id("me")).to_have_text(self.name)

    async def text(self, name: str) -> str:
        return await self.page.get_by_test_id(name).inner_text()

    async def open_account(self) -> None:
        await self.click("user-menu", "open-account")

    async def sign_out(self) -> None:
        await self.click("user-menu", "sign-out")
        await expect(self.page.get_by_test_id("sign-in-form")).to_be_visible()

    async def give_password(self, password: str = PASSWORD) -> None:
        await self.fill(username=self.name, password=password)
        await self.click("sign-in-submit")

    async def set_up_app(self) -> tuple[str, list[str]]:
        """Switch an authenticator app on; its secret and the recovery codes. A code of the step before is used up."""
        await self.open_account()
        await self.click("app-begin")
        await self.fill(proof_password=PASSWORD)
        await self.click("proof-submit")
        secret = await self.text("app-secret")
        await self.fill(app_code=TOTP(secret).now())
        await self.click("app-confirm")
        codes = (await self.text("recovery-codes")).split()
        await self.click("codes-kept")
        await expect(self.page.get_by_test_id("app-remove")).to_be_visible()
        await self.click("account-close")
        return secret, codes


@pytest.fixture
async def person(browser: Browser, stack_url: str) -> AsyncIterator[Person]:
    made = await Person.signed_up(browser, stack_url)
    yield made
    assert made.errors == []
    await made.page.context.close()


async def test_an_app_is_set_up_and_asked_for_and_a_recovery_code_stands_in_for_it(person: Person) -> None:
    _, codes = await person.set_up_app()
    assert len(codes) == 10
    await person.sign_out()
    await person.give_password()
    await person.fill(code="000000")
    await person.click("step-submit")
    await expect(person.page.get_by_test_id("step-error")).to_contain_text("wrong")
    await person.click("step-other")
    await person.fill(recovery_code=codes[0].upper())
    await person.click("step-submit")
    await person.is_in()


async def test_a_passkey_signs_in_alone_and_after_the_password(person: Person) -> None:
    session = await person.page.context.new_cdp_session(person.page)
    await session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    await person.open_account()
    await person.click("passkey-add")
    await person.fill(proof_password=PASSWORD)
    await person.click("proof-submit")
    await expect(person.page.get_by_test_id("recovery-codes")).to_be_visible()
    await person.click("codes-kept")
    await expect(person.page.get_by_test_id("passkey")).to_have_count(1)
    await person.click("account-close")
    await person.sign_out()
    await person.click("sign-in-passkey")
    await person.is_in()
    await person.sign_out()
    await person.give_password()
    await person.click("factor-passkey")
    await person.is_in()
    # It is taken away again with itself as the proof.
    await person.open_account()
    await person.click("passkey-remove")
    await person.fill(proof_password=PASSWORD)
    await person.click("proof-submit", "proof-passkey")
    # Only what follows the proof has this again, and no passkey any more.
    await expect(person.page.get_by_test_id("passkey-add")).to_be_visible()
    await expect(person.page.get_by_test_id("passkey")).to_have_count(0)
    await person.click("account-close")
    await person.sign_out()
    await person.give_password()
    await person.is_in()


async def test_an_address_is_confirmed_and_a_forgotten_password_set_by_links_that_the_console_shows(
    person: Person, one_command: OneCommand
) -> None:
    address = f"{person.name}@example.org"

    async def links(purpose: str, number: int = 1) -> list[str]:
        mailed = re.compile(rf"To: {re.escape(address)}\n(?:.*\n)*?.*(http://\S+/#{purpose}=\S+)")
        await until(lambda: len(mailed.findall(one_command.printed)) >= number, "the mail on the console")
        return mailed.findall(one_command.printed)

    async def forget(number: int) -> str:
        await person.click("forgot-password")
        await person.fill(identifier=address)
        await person.click("step-submit")
        await expect(person.page.get_by_test_id("mailed-code")).to_be_visible()
        return (await links("reset", number))[-1]

    await person.open_account()
    await person.fill(account_email=address, email_password=PASSWORD)
    await person.click("email-save")
    await expect(person.page.get_by_test_id("email-told")).to_contain_text("We have sent a mail")
    await person.fill(email_code="not that code")
    await person.click("email-confirm")
    await expect(person.page.get_by_test_id("account-error")).not_to_be_empty()
    await person.page.goto("about:blank")
    await person.page.goto((await links("verify"))[-1])
    await expect(person.page.get_by_test_id("notice")).to_have_text(f"{address} is confirmed.")
    assert "verify" not in person.page.url
    await person.sign_out()
    mailed = await forget(1)
    await person.page.goto("about:blank")
    await person.page.goto(mailed)
    await expect(person.page.get_by_test_id("new-password")).to_be_visible()
    assert "reset" not in person.page.url
    await person.click("step-back")
    # A mail may have a code alone: that is typed.
    mailed = await forget(2)
    await person.fill(mailed_code=mailed.partition("#reset=")[2])
    await person.click("step-submit")
    await person.fill(new_password="short")
    await person.click("step-submit")
    await expect(person.page.get_by_test_id("step-error")).to_contain_text("8")
    await person.fill(new_password=NEW)
    await person.click("step-submit")
    await expect(person.page.get_by_test_id("session-notice")).to_contain_text("was changed")
    await person.give_password(NEW)
    await person.is_in()


async def test_a_password_that_has_to_be_changed_is_changed_at_the_sign_in(
    person: Person, one_command: OneCommand
) -> None:
    headers = {"authorization": f"Bearer {one_command.token}"}
    async with httpx.AsyncClient(base_url=one_command.url, headers=headers) as admin:
        (user,) = (await admin.get("/admin/users", params={"search": person.name})).json()["users"]
        assert (await admin.post(f"/admin/users/{user['id']}/password-change", json={})).status_code == 200
    await expect(person.page.get_by_test_id("sign-in-form")).to_be_visible()
    await person.give_password()
    await person.fill(new_password=NEW)
    await person.click("step-submit")
    await person.is_in()


async def test_where_one_is_signed_in_is_listed_and_ended_from_afar(
    browser: Browser, person: Person, stack_url: str
) -> None:
    other = Person(await chromium.opened(browser), person.name)
    await other.page.goto(stack_url.replace("127.0.0.1", "localhost"))
    await other.click("sign-in-switch")
    await other.give_password()
    await other.is_in()
    await person.open_account()
    sessions = person.page.get_by_test_id("session")
    await expect(sessions).to_have_count(2)
    await expect(sessions.filter(has_text="this one")).to_contain_text("Chrome on Linux")
    await person.click("end-session")
    await expect(sessions).to_have_count(1)
    await expect(other.page.get_by_test_id("sign-in-form")).to_be_visible()
    await other.page.context.close()
