"""Someone at the web page, in a browser context of their own."""

from __future__ import annotations

import uuid
from typing import Any

from playwright.async_api import Browser, Locator, Page, expect

from tests.support.clients import chromium
from tests.support.clients.plain_http import plain_http

PASSWORD = "correct horse battery"
CLOSE_ALL = """() => {
  document.body.dispatchEvent(new PointerEvent("pointerdown", {bubbles: true}));
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  document.querySelector("#side-panel [data-testid^='close-']")?.click();
}"""
"""Closes menus, dialogs and the side panel."""


class Visitor:
    """Someone at the page. `errors` is everything that went wrong in it, `dialogs` what a script of others' showed."""

    def __init__(self, page: Page, name: str, url: str) -> None:
        self.page = page
        self.name = name
        self.url = url
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: self.dialogs.append(dialog.message))

    @classmethod
    async def sign_up(cls, browser: Browser, url: str, name: str, path: str = "") -> Visitor:
        """Open the page as a newcomer and make an account."""
        visitor = cls(await chromium.opened(browser), name, url)
        page = visitor.page
        await page.goto(url + path)
        await page.get_by_test_id("username").fill(name)
        await page.get_by_test_id("password").fill(PASSWORD)
        await page.get_by_test_id("sign-in-submit").click()
        await expect(page.get_by_test_id("me")).to_have_text(name)
        await visitor.is_online()
        return visitor

    @classmethod
    async def two(cls, browser: Browser, url: str) -> tuple[Visitor, Visitor]:
        """Two people who have just signed up."""
        mark = uuid.uuid4().hex[:8]
        return await cls.sign_up(browser, url, f"ada-{mark}"), await cls.sign_up(browser, url, f"grace-{mark}")

    async def tidy(self) -> None:
        """Close whatever is open, so that one test's failure is not the next one's."""
        for page in self.page.context.pages:
            if page is not self.page:
                await page.close()
        await self.page.bring_to_front()
        await self.page.unroute_all(behavior="ignoreErrors")
        await self.page.set_viewport_size(chromium.VIEWPORT)
        await self.page.evaluate(CLOSE_ALL)
        self.errors.clear()
        self.dialogs.clear()

    def part(self, name: str) -> Locator:
        """A part of the page by its test id."""
        return self.page.get_by_test_id(name)

    async def click(self, *names: str) -> None:
        """Click parts of the page one after the other."""
        for name in names:
            await self.part(name).click()

    async def is_online(self) -> None:
        await expect(self.part("status-dot")).to_have_attribute("data-status", "online")

    async def create_room(self, name: str, kind: str = "public") -> None:
        """Make a room and land in it."""
        await self.click("create-room")
        await self.part("room-name-input").fill(name)
        await self.page.get_by_test_id(f"kind-{kind}").check(force=True)
        await self.click("create-submit")
        await expect(self.part("room-name")).to_have_text(name)

    async def join_room(self, name: str) -> None:
        """Find a public room by name and join it."""
        await self.find_room(name)
        await self.click("join-room")
        await expect(self.part("room-name")).to_have_text(name)

    async def find_room(self, name: str) -> None:
        """Search a public room by its name, which no other has."""
        await self.click("browse-rooms")
        await self.part("room-search").fill(name)
        # All rooms are listed at first, and replaced in a moment.
        await expect(self.part("browse-row")).to_have_count(1)
        await expect(self.part("browse-row")).to_contain_text(name)

    async def open_room(self, name: str) -> None:
        """Open a room of the list."""
        await self.row_of(name).click()
        await expect(self.part("room-name")).to_have_text(name)

    def row_of(self, name: str) -> Locator:
        """A room's row in the list."""
        return self.part("room-row").filter(has=self.page.locator(".room-name", has_text=name))

    async def say(self, text: str) -> None:
        """Write a message and send it with Enter."""
        await self.part("composer").fill(text)
        await self.part("composer").press("Enter")

    async def sees(self, text: str) -> None:
        """Wait until the message is in the list, with nothing pending."""
        await expect(self.part("messages").get_by_test_id("message-body").get_by_text(text, exact=True)).to_be_visible()
        await expect(self.part("messages").get_by_test_id("message-pending")).to_have_count(0)

    def message(self, text: str) -> Locator:
        """The row of the message with a text, in the room's list."""
        return (
            self.part("messages")
            .get_by_test_id("message")
            .filter(has=self.page.get_by_test_id("message-body").filter(has_text=text))
        )

    async def act(self, text: str, *names: str) -> None:
        """Use a control of a message, and then what it opens."""
        row = self.message(text)
        await row.hover()
        await row.get_by_test_id(names[0]).click()
        await self.click(*names[1:])

    async def bodies(self) -> list[str]:
        """All messages in the list, from the top."""
        return await self.part("messages").get_by_test_id("message-body").all_text_contents()

    async def over_rest(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do something over REST, as this visitor. `{room}` in the path is the open room."""
        async with plain_http(base_url=self.url) as http:
            login = {"username": self.name, "password": PASSWORD}
            token = (await http.post("/auth/login", json=login)).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            room = self.page.url.rpartition("/")[2]
            answer = await http.request(method, path.format(room=room), json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()
