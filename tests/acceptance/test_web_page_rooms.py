"""What the page does with rooms and people: direct messages, links, settings, moderation, presence, sessions."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.support.clients import chromium
from tests.support.clients.plain_http import plain_http
from tests.support.clients.visitor import Visitor
from tests.support.waiting import until

pytestmark = [pytest.mark.browser, chromium.NEEDED]


@pytest.fixture
async def two(two_visitors: tuple[Visitor, Visitor]) -> AsyncIterator[tuple[Visitor, Visitor]]:
    """The two in a room of their own; nothing has gone wrong in their pages in the end."""
    ada, grace = two_visitors
    yield two_visitors
    assert ada.errors == grace.errors == []


async def member_menu(visitor: Visitor, name: str, *choices: str) -> None:
    """Choose what to do with a member, in the list of members."""
    if not await visitor.part("members-panel").is_visible():
        await visitor.click("show-members")
    await visitor.part("member").filter(has_text=name).get_by_role("button").click()
    await visitor.click(*choices)


async def test_the_list_is_by_activity_with_what_was_said_last_and_counts_on_all_devices(
    two: tuple[Visitor, Visitor],
) -> None:
    ada, grace = two
    met = await ada.part("room-name").text_content() or ""
    aside = f"aside {uuid.uuid4().hex[:8]}"
    await grace.create_room(aside)
    other = await grace.page.context.new_page()
    await other.goto(grace.page.url)
    rooms = grace.part("room-list").locator(".room-name")
    await expect(rooms.first).to_have_text(aside)
    await ada.say("One.")
    await ada.say("_Two._")
    await expect(rooms.first).to_have_text(met)
    await expect(grace.row_of(met).get_by_test_id("room-said")).to_have_text(f"{ada.name}: Two.")
    badge = other.get_by_test_id("room-row").filter(has_text=met).get_by_test_id("unread-badge")
    await expect(badge).to_have_text("2")
    await expect(other).to_have_title(f"(2) {aside} · Parley")
    await grace.open_room(met)
    await expect(badge).to_have_count(0)
    await grace.act("Two.", "message-menu", "mark-unread")
    await expect(grace.row_of(met).get_by_test_id("unread-badge")).to_have_text("1")
    await expect(badge).to_have_text("1")
    await other.close()


async def test_a_direct_conversation_begins_with_its_first_message(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    await grace.click("new-direct")
    await grace.part("direct-search").fill(ada.name)
    await grace.click("direct-person", "direct-submit")
    await expect(grace.part("room-name")).to_have_text(ada.name)
    await expect(ada.part("direct-list").get_by_test_id("room-row")).to_have_count(0)
    await grace.say("Lunch?")
    row = ada.part("direct-list").get_by_test_id("room-row").filter(has_text=grace.name)
    await expect(row.get_by_test_id("unread-badge")).to_have_text("1")
    await expect(row.get_by_test_id("row-presence")).to_have_attribute("data-state", "online")
    await row.click()
    await ada.sees("Lunch?")
    await ada.say("At one.")
    await grace.sees("At one.")


async def test_who_is_there_is_shown_as_they_chose_and_until_they_go(
    browser: Browser, stack_url: str, two: tuple[Visitor, Visitor]
) -> None:
    ada, _ = two
    met = await ada.part("room-name").text_content() or ""
    guest = await Visitor.sign_up(browser, stack_url, f"guest-{uuid.uuid4().hex[:8]}")
    await guest.join_room(met)
    await ada.click("show-members")
    dot = ada.part("member").filter(has_text=guest.name).get_by_test_id("presence")
    await expect(dot).to_have_attribute("data-state", "online")
    await guest.click("user-menu", "presence-dnd")
    await expect(dot).to_have_attribute("data-state", "dnd")
    await guest.page.reload()
    await guest.is_online()
    await expect(dot).to_have_attribute("data-state", "dnd")
    await guest.page.context.close()
    # A page that goes while its connection changes to WebSocket has no request waiting: its next ping tells.
    await expect(dot).to_have_attribute("data-state", "offline", timeout=60_000)
    await ada.click("close-members")


async def test_a_link_lets_a_newcomer_in_until_it_is_revoked(
    browser: Browser, stack_url: str, two: tuple[Visitor, Visitor]
) -> None:
    ada, _ = two
    room = f"hidden {uuid.uuid4().hex[:8]}"
    await ada.create_room(room, "private")
    await ada.click("room-menu", "invite", "make-link")
    await expect(ada.part("made-link")).to_have_value(re.compile("#invite=."))
    link = await ada.part("made-link").input_value()
    await expect(ada.part("link")).to_contain_text(ada.name)
    path = link.removeprefix(stack_url)
    newcomer = await Visitor.sign_up(browser, stack_url, f"new-{uuid.uuid4().hex[:8]}", path)
    await expect(newcomer.part("room-name")).to_have_text(room)
    await newcomer.page.context.close()
    await ada.click("revoke-link")
    await expect(ada.part("link")).to_have_count(0)
    await ada.click("invite-close")
    late = await Visitor.sign_up(browser, stack_url, f"late-{uuid.uuid4().hex[:8]}", path)
    await expect(late.part("notice")).to_be_visible()
    await expect(late.part("room-list").get_by_test_id("room-row")).to_have_count(0)
    await late.page.context.close()


async def test_settings_change_the_room_for_all_and_slow_mode_counts_down(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    name = f"renamed {uuid.uuid4().hex[:8]}"
    await ada.click("room-menu", "room-settings")
    await ada.part("settings-name").fill(name)
    await ada.part("settings-topic").fill("What we ship")
    await ada.part("settings-slow").select_option("5")
    await ada.click("settings-save")
    await expect(grace.part("room-name")).to_have_text(name)
    await expect(grace.part("room-kind")).to_have_text("What we ship")
    await grace.say("first")
    await grace.sees("first")
    await expect(grace.part("composer-hint")).to_contain_text("Slow mode")
    await grace.part("composer").fill("second")
    await expect(grace.part("send")).to_be_disabled()
    await expect(grace.part("send")).to_be_enabled(timeout=8_000)
    await grace.part("composer").press("Enter")
    await ada.sees("second")
    await ada.say("who moderates")
    await ada.say("does not wait")
    await grace.sees("does not wait")
    await grace.click("room-menu")
    await expect(grace.part("room-settings")).to_have_count(0)
    await grace.page.keyboard.press("Escape")


async def test_who_may_write_is_set_for_everyone_and_a_closed_room_takes_nothing(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    await ada.click("room-menu", "room-settings")
    await ada.part("may-post").select_option("deny")
    await ada.click("permissions-save")
    await expect(ada.page.get_by_text("It is set.")).to_be_visible()
    await ada.click("settings-close")
    await grace.say("may I?")
    await expect(grace.part("message-failed")).to_be_visible()
    await grace.click("discard-message")
    await ada.click("room-menu", "room-settings", "toggle-archive", "archive-confirm")
    await expect(grace.part("composer-closed")).to_contain_text("closed")
    await ada.click("room-menu", "room-settings", "toggle-archive")
    await expect(grace.part("composer")).to_be_visible()


async def test_a_moderator_mutes_removes_and_bans_and_lifts_it(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    met = await ada.part("room-name").text_content() or ""
    await member_menu(ada, grace.name, "person-promote")
    await expect(ada.part("member").filter(has_text=grace.name)).to_contain_text("Moderator")
    await member_menu(ada, grace.name, "person-demote")
    await expect(ada.part("member").filter(has_text=grace.name)).not_to_contain_text("Moderator")
    await member_menu(ada, grace.name, "person-mute")
    await expect(grace.part("composer-closed")).to_contain_text("muted until")
    await grace.page.reload()
    await expect(grace.part("composer-closed")).to_contain_text("muted until")
    await member_menu(ada, grace.name, "person-unmute")
    await expect(grace.part("composer")).to_be_visible()
    await member_menu(ada, grace.name, "person-ban", "moderate-confirm")
    await expect(grace.row_of(met)).to_have_count(0)
    await expect(grace.part("notice").filter(has_text="You were banned").first).to_be_visible()
    await grace.find_room(met)
    await grace.click("join-room")
    await expect(grace.part("browse-list").locator("..").get_by_role("status")).to_contain_text("banned")
    await grace.click("browse-close")
    await ada.click("room-menu", "room-settings")
    await expect(ada.part("restriction")).to_contain_text(grace.name)
    await ada.click("lift")
    await expect(ada.part("restriction")).to_have_count(0)
    await ada.click("settings-close", "close-members")
    await grace.join_room(met)


async def test_who_is_removed_is_told_and_may_come_back(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    met = await ada.part("room-name").text_content() or ""
    await member_menu(ada, grace.name, "person-remove", "moderate-confirm")
    await expect(grace.row_of(met)).to_have_count(0)
    await expect(grace.part("notice").filter(has_text="removed").first).to_be_visible()
    await expect(ada.part("member")).to_have_count(1)
    await grace.join_room(met)
    await expect(ada.part("member")).to_have_count(2)
    await ada.click("close-members")


async def test_who_is_blocked_writes_no_direct_messages_until_they_are_not(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    met = await ada.part("room-name").text_content() or ""
    await member_menu(grace, ada.name, "person-message")
    await expect(grace.part("room-name")).to_have_text(ada.name)
    await grace.say("Hello, you")
    row = ada.part("direct-list").get_by_test_id("room-row").filter(has_text=grace.name)
    await row.click()
    await ada.sees("Hello, you")
    await grace.open_room(met)
    await member_menu(grace, ada.name, "person-block")
    await expect(grace.part("notice").filter(has_text="no more direct messages")).to_be_visible()
    await ada.say("Do you hear me?")
    await expect(ada.part("message-failed")).to_be_visible()
    await member_menu(grace, ada.name, "person-unblock")
    await expect(grace.part("notice").filter(has_text="is not blocked")).to_be_visible()
    await ada.click("retry-message")
    await ada.sees("Do you hear me?")
    await grace.click("close-members")


async def test_a_report_reaches_the_moderators_who_delete_the_message_and_see_its_file_yet(
    two: tuple[Visitor, Visitor],
) -> None:
    ada, grace = two
    await ada.say("fine")
    await grace.part("composer-files").set_input_files(
        {"name": "angry.txt", "mimeType": "text/plain", "buffer": b"in anger, too"}
    )
    await expect(grace.part("upload")).to_have_attribute("data-state", "ready")
    await grace.say("said in anger")
    await ada.sees("said in anger")
    await ada.act("said in anger", "message-menu", "report-message")
    await ada.part("report-comment").fill("not here")
    await ada.click("report-submit")
    await grace.act("said in anger", "message-menu", "delete-message", "delete-confirm")
    await expect(ada.part("system-line").filter(has_text="A message was deleted")).to_be_visible()
    await ada.click("room-menu", "room-reports")
    await expect(ada.part("report")).to_contain_text("said in anger")
    async with ada.page.expect_download() as download:
        await ada.part("report").get_by_test_id("file-card").click()
    assert (await download.value).suggested_filename == "angry.txt"
    await ada.click("report-dismiss")
    await expect(ada.part("report")).to_have_count(0)
    await ada.click("reports-close")
    await grace.say("said again")
    await ada.sees("said again")
    await ada.act("said again", "message-menu", "report-message")
    await ada.click("report-submit", "room-menu", "room-reports")
    await ada.click("report-delete")
    await expect(ada.part("report")).to_have_count(0)
    await ada.click("reports-close")
    await expect(grace.part("system-line").filter(has_text="deleted")).to_have_count(2)


async def test_notifications_are_listed_marked_read_and_silenced(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    met = await ada.part("room-name").text_content() or ""
    await grace.say("What do you think?")
    await grace.create_room(f"aside {uuid.uuid4().hex[:8]}")
    await ada.message("What do you think?").hover()
    await ada.message("What do you think?").get_by_test_id("quick-react").first.click()
    await ada.act("What do you think?", "reply")
    await ada.say("Good.")
    await grace.click("show-notifications")
    news = grace.part("notification").filter(has_text=met)
    await expect(news).to_have_count(2)
    for one in await news.all():
        await expect(one).to_have_class(re.compile("unread"))
    await grace.click("read-all")
    await expect(grace.part("notification-list").locator(".unread")).to_have_count(0)
    await expect(grace.part("notification-badge")).to_be_hidden()
    await grace.page.reload()
    await grace.is_online()
    await expect(grace.part("notification-badge")).to_be_hidden()
    await grace.open_room(met)
    await grace.click("room-menu", "room-level", "level-none", "room-menu")
    await expect(grace.part("room-level")).to_contain_text("Nothing")
    await grace.page.keyboard.press("Escape")


async def test_a_slash_command_is_offered_asked_and_answered_to_who_asked_alone(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    room = ada.page.url.rpartition("/")[2]
    bot = (await ada.over_rest("POST", "/auth/bots", {"name": f"pollster-{uuid.uuid4().hex[:8]}"}))["id"]
    wanted = {"name": "page test", "scopes": ["chat:read", "chat:write"]}
    key = (await ada.over_rest("POST", f"/auth/bots/{bot}/keys", wanted))["key"]
    async with plain_http(base_url=ada.url, headers={"Authorization": f"Bearer {key}"}) as http:
        assert (await http.post(f"/api/rooms/{room}/join")).status_code == 200
        question = {"name": "question", "type": "string", "required": True}
        poll = {"name": "poll", "description": "Ask everybody", "options": [question]}
        assert (await http.post("/api/me/commands", json={"commands": [poll]})).status_code == 200
        await ada.part("composer").press_sequentially("/po")
        await expect(ada.part("suggestion")).to_contain_text("/poll question")
        await ada.part("composer").press("Enter")
        await expect(ada.part("composer")).to_have_value("/poll ")
        await ada.part("composer").press_sequentially("Tea or coffee?")
        await ada.part("composer").press("Enter")

        async def asked() -> list[dict[str, Any]]:
            return (await http.get("/api/me/invocations")).json()["invocations"]

        (invocation,) = await until(asked, "the bot is asked")
        assert invocation["options"] == {"question": "Tea or coffee?"}
        answer = {"body": "It is asked.", "only_you": True}
        said = await http.post(f"/api/me/invocations/{invocation['invocation']}/reply", json=answer)
        assert said.status_code == 200
    await expect(ada.part("aside")).to_contain_text("It is asked.")
    await ada.say("done")
    await grace.sees("done")
    assert await grace.bodies() == ["done"]


async def test_the_page_is_usable_on_a_phone_and_by_keyboard(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    await ada.say("hello")
    await grace.sees("hello")
    page = grace.page
    await page.set_viewport_size({"width": 360, "height": 740})
    for part in ("composer", "send", "room-menu", "show-members"):
        await expect(grace.part(part)).to_be_in_viewport(ratio=1)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await grace.click("show-members")
    await expect(grace.part("members-panel")).to_be_in_viewport()
    await page.keyboard.press("Escape")
    await expect(grace.part("side-panel")).to_be_hidden()
    await expect(grace.part("show-members")).to_be_focused()
    await grace.click("back")
    await expect(grace.part("room-list")).to_be_in_viewport()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.set_viewport_size({"width": 1280, "height": 800})
    # A message's menu opens, is walked and shut by keys alone.
    row = ada.message("hello")
    await row.get_by_test_id("message-menu").focus()
    await ada.page.keyboard.press("Enter")
    await expect(ada.part("edit-message")).to_be_focused()
    await ada.page.keyboard.press("ArrowDown")
    await expect(ada.part("pin-message")).to_be_focused()
    await ada.page.keyboard.press("Escape")
    await expect(row.get_by_test_id("message-menu")).to_be_focused()
    # What can be pressed has a name for who does not see it.
    unnamed = (
        "[...document.querySelectorAll('button, input, select, textarea, a')].filter((each) => each.type !== 'file'"
    )
    named = "!each.getAttribute('aria-label') && !each.textContent.trim() && !each.labels?.length"
    assert await ada.page.evaluate(f"{unnamed} && {named}).map((each) => each.outerHTML)") == []
