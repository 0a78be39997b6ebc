"""The page at `/` in a real browser: two people meet, talk, and scroll back."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.support.clients import chromium
from tests.support.clients.plain_http import plain_http
from tests.support.clients.visitor import Visitor
from tests.support.ports import free_port
from tests.support.stack.one_command import OneCommand

MARKUP = "<img src=x onerror=alert(1)>"
EXCHANGED = 56
"""Messages enough for more than one page of history."""

pytestmark = [pytest.mark.browser, chromium.NEEDED]


@pytest.mark.parametrize("part", ["js/api.js", "js/main.js", "socket.io.min.js"])
async def test_a_part_that_cannot_be_loaded_is_told_and_may_be_tried_again(
    browser: Browser, stack_url: str, part: str
) -> None:
    page = await chromium.opened(browser)
    await page.route(f"**/{part}", lambda route: route.abort())
    await page.goto(stack_url)
    await expect(page.get_by_role("alert")).to_contain_text("could not be loaded")
    await page.unroute_all()
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_test_id("sign-in-submit")).to_be_visible()
    await page.context.close()


async def test_two_people_sign_up_meet_in_a_room_and_talk_both_ways(two_visitors: tuple[Visitor, Visitor]) -> None:
    ada, grace = two_visitors
    await expect(ada.page.get_by_test_id("system-line").filter(has_text=f"{grace.name} joined")).to_be_visible()
    await ada.say("Hello from the first.")
    await grace.sees("Hello from the first.")
    await grace.say("Hello from the second.")
    await ada.sees("Hello from the second.")
    await grace.sees("Hello from the second.")
    assert await ada.bodies() == await grace.bodies() == ["Hello from the first.", "Hello from the second."]
    await expect(ada.page.get_by_test_id("member-count")).to_have_text("2")
    assert ada.errors == []
    assert grace.errors == []


async def test_markup_in_a_message_is_shown_as_text(two_visitors: tuple[Visitor, Visitor]) -> None:
    ada, grace = two_visitors
    await ada.say(MARKUP)
    for visitor in (ada, grace):
        await visitor.sees(MARKUP)
        assert await visitor.page.get_by_test_id("messages").locator("img").count() == 0
        assert visitor.dialogs == []
        assert visitor.errors == []


async def test_history_loads_while_scrolling_up_and_the_list_says_what_is_new(
    two_visitors: tuple[Visitor, Visitor],
) -> None:
    ada, grace = two_visitors
    said = [f"line {number}" for number in range(EXCHANGED)]
    for text in said:
        await ada.say(text)
    await grace.sees(said[-1])
    # What was read is with the server, so that it is not new on the page that is loaded next.
    await expect(ada.part("seen-by")).to_have_text(f"Seen by {grace.name}")

    await grace.page.reload()
    await grace.sees(said[-1])
    assert said[0] not in await grace.bodies()
    beginning = grace.page.get_by_test_id("room-beginning")
    scroller = grace.page.get_by_test_id("message-list")
    while not await beginning.is_visible():
        await scroller.evaluate("list => { list.scrollTop = 0 }")
        await expect(grace.page.get_by_test_id("loading-history")).to_have_count(0)
    assert await grace.bodies() == said

    await scroller.evaluate("list => { list.scrollTop = 0 }")
    await ada.say("the latest")
    await expect(grace.page.get_by_test_id("new-messages-text")).to_have_text("1 new message")
    await grace.page.get_by_test_id("new-messages").click()
    await grace.sees("the latest")
    await expect(grace.page.get_by_test_id("new-messages")).to_be_hidden()


async def test_a_click_on_a_room_is_not_undone_by_what_is_shown_before_the_browser_tells_of_it(
    two_visitors: tuple[Visitor, Visitor],
) -> None:
    ada, grace = two_visitors
    met = await grace.part("room-name").text_content() or ""
    await grace.create_room(aside := f"aside {uuid.uuid4().hex[:8]}")
    other = await grace.page.context.new_page()
    # The browser changes the address at once, and tells of it in a moment, which here takes long.
    await other.add_init_script(
        "addEventListener('hashchange', (event) => window.late && event.stopImmediatePropagation(), true)"
    )
    await other.goto(grace.page.url)
    await expect(other.get_by_test_id("room-name")).to_have_text(aside)
    await other.evaluate("window.late = true")
    await other.get_by_test_id("room-row").filter(has_text=met).click()
    await ada.say("meanwhile")
    await expect(other.get_by_test_id("room-name")).to_have_text(met)
    await expect(other.get_by_test_id("message-body")).to_have_text("meanwhile")
    await expect(other).to_have_url(ada.page.url)
    # And an address that is none does not keep the page from starting.
    await other.goto("about:blank")
    await other.goto(f"{grace.url}/#/%E0%A4%A")
    await expect(other.get_by_test_id("room-name")).to_have_text(met)
    await other.close()


async def test_a_message_in_another_room_is_counted_until_it_is_opened(two_visitors: tuple[Visitor, Visitor]) -> None:
    ada, grace = two_visitors
    met = await grace.page.get_by_test_id("room-name").text_content() or ""
    await grace.create_room(f"aside {uuid.uuid4().hex[:8]}")
    await ada.say("are you there?")
    row = grace.row_of(met)
    await expect(row.get_by_test_id("unread-badge")).to_have_text("1")
    await row.click()
    await grace.sees("are you there?")
    await expect(row.get_by_test_id("unread-badge")).to_have_count(0)
    await expect(grace.page.get_by_test_id("unread-line")).to_have_count(1)


async def test_edits_reactions_and_deletions_are_shown_as_they_come_and_who_types(
    two_visitors: tuple[Visitor, Visitor],
) -> None:
    ada, grace = two_visitors
    room = await ada.page.get_by_test_id("room-name").text_content() or ""
    await ada.say("Lunch at one?")
    await ada.say("Said in haste.")
    await grace.sees("Said in haste.")
    await ada.act("Lunch at one?", "message-menu", "edit-message")
    await expect(ada.part("composer")).to_have_value("Lunch at one?")
    await ada.say("Lunch at two?")
    await expect(grace.message("Lunch at two?")).to_be_visible()
    await ada.message("Lunch at two?").hover()
    await ada.message("Lunch at two?").get_by_test_id("quick-react").first.click()
    await grace.part("reaction").click()
    await expect(ada.part("reaction")).to_have_text("👍 2")
    await ada.act("Said in haste.", "message-menu", "delete-message", "delete-confirm")
    for visitor in (ada, grace):
        await expect(visitor.page.get_by_test_id("system-line").filter(has_text="deleted")).to_have_count(1)
        await expect(visitor.page.get_by_test_id("message-body")).to_have_text("Lunch at two?edited")
        await expect(visitor.page.get_by_test_id("reaction")).to_have_text("👍 2")
    # As a person types: for longer than the two seconds in which it is told once.
    await ada.page.get_by_test_id("composer").press_sequentially("Then at two, it is", delay=150)
    await expect(grace.page.get_by_test_id("typing")).to_have_text(f"{ada.name} is typing…")
    await ada.say("Then at two.")
    await grace.sees("Then at two.")
    await expect(grace.page.get_by_test_id("typing")).to_have_text("")
    # Loaded anew, it is the same.
    await grace.page.reload()
    await grace.row_of(room).click()
    await expect(grace.page.get_by_test_id("reaction")).to_have_text("👍 2")
    await expect(grace.page.get_by_test_id("message-body")).to_have_text(["Lunch at two?edited", "Then at two."])
    await expect(grace.page.get_by_test_id("system-line").filter(has_text="deleted")).to_have_count(1)
    assert ada.errors == []
    assert grace.errors == []


async def test_whoever_owns_a_room_after_its_owner_left_is_told_to_all(two_visitors: tuple[Visitor, Visitor]) -> None:
    ada, grace = two_visitors
    await grace.page.get_by_test_id("show-members").click()
    await expect(grace.page.get_by_test_id("member")).to_have_count(2)
    await ada.click("room-menu", "leave-room", "leave-confirm")
    lines = grace.page.get_by_test_id("system-line")
    await expect(lines.filter(has_text=f"{ada.name} left")).to_be_visible()
    await expect(lines.filter(has_text=f"{grace.name} is the owner now")).to_be_visible()
    await expect(grace.page.get_by_test_id("member")).to_have_count(1)
    await expect(grace.page.get_by_test_id("member")).to_contain_text("Owner")
    assert grace.errors == []


async def test_the_page_works_on_after_a_server_restart_without_a_reload(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    stack = await asyncio.to_thread(OneCommand(tmp_path / "data", port=port).wait_until_ready)
    ada = await Visitor.sign_up(browser, stack.url, "ada")
    grace = await Visitor.sign_up(browser, stack.url, "grace")
    await ada.create_room("Lounge")
    await grace.join_room("Lounge")
    await ada.say("before")
    await grace.sees("before")
    await grace.act("before", "start-thread")
    await expect(grace.part("thread-messages").get_by_test_id("message")).to_have_count(1)
    await ada.page.evaluate("window.notReloaded = true")
    assert await asyncio.to_thread(stack.stop) == 0
    await expect(ada.page.get_by_test_id("status-dot")).not_to_have_attribute("data-status", "online")
    await ada.say("said while the server was away")
    stack = await asyncio.to_thread(OneCommand(tmp_path / "data", port=port).wait_until_ready)
    await ada.sees("said while the server was away")
    await grace.sees("said while the server was away")
    await grace.say("welcome back")
    await ada.sees("welcome back")
    await ada.act("before", "start-thread")
    await ada.part("thread-composer").fill("in the thread")
    await ada.part("thread-composer").press("Enter")
    await expect(grace.part("thread-messages").get_by_test_id("message")).to_have_count(2)
    await expect(grace.message("before").get_by_test_id("thread-link")).to_contain_text("1 reply")
    assert await ada.page.evaluate("window.notReloaded")
    said = ["before", "said while the server was away", "welcome back", "in the thread"]
    assert await ada.bodies() == await grace.bodies() == said
    await ada.page.context.close()
    await grace.page.context.close()
    assert await asyncio.to_thread(stack.stop) == 0


async def test_a_kicked_visitor_is_told_why(browser: Browser, one_command: OneCommand) -> None:
    visitor = await Visitor.sign_up(browser, one_command.url, f"loud-{uuid.uuid4().hex[:8]}")
    async with plain_http(headers={"Authorization": f"Bearer {one_command.token}"}) as http:
        found = (await http.get(f"{one_command.url}/admin/users", params={"search": visitor.name})).json()["users"]
        kick = f"{one_command.url}/admin/users/{found[0]['id']}/kick"
        assert (await http.post(kick, json={"reason": "Too loud"})).json()["disconnected"] == 1
    await expect(visitor.page.get_by_text("Too loud")).to_be_visible()
    await expect(visitor.page.get_by_test_id("status-dot")).not_to_have_attribute("data-status", "online")
