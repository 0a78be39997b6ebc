"""What the page does with messages: answers, threads, pins, mentions, files, search, drafts, and hostile ones."""

from __future__ import annotations

import asyncio
import re
import struct
import uuid
import zlib
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import FilePayload, Route, expect

from tests.support.clients import chromium
from tests.support.clients.visitor import Visitor
from tests.support.waiting import until

MARKUP = "<img src=x onerror=alert(1)>"
DRAGGED = """() => {
  const data = new DataTransfer();
  data.items.add(new File(["x".repeat(2621440)], "big.txt", {type: "text/plain"}));
  return data;
}"""
"""What the browser tells of a file that is dragged."""
DROPPED = """(part, dataTransfer) =>
  part.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}))"""
"""Whether the browser opens what is dropped on a part."""

pytestmark = [pytest.mark.browser, chromium.NEEDED]


def png(width: int = 64, height: int = 40) -> bytes:
    """A picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x0d\x74\x66" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
async def two(two_visitors: tuple[Visitor, Visitor]) -> AsyncIterator[tuple[Visitor, Visitor]]:
    """The two in a room of their own; nothing has gone wrong in their pages in the end."""
    ada, grace = two_visitors
    yield two_visitors
    assert ada.errors == grace.errors == ada.dialogs == grace.dialogs == []


async def test_an_edit_that_missed_another_is_told_so_and_replaces_it_when_saved_again(
    two: tuple[Visitor, Visitor],
) -> None:
    ada, grace = two
    await ada.say("first")
    await ada.sees("first")
    sequence = await ada.message("first").get_attribute("data-sequence")
    await ada.part("composer").press("ArrowUp")
    await expect(ada.part("composer-about")).to_contain_text("Editing")
    edit = {"body": "from elsewhere", "version": 1}
    await ada.over_rest("POST", f"/api/rooms/{{room}}/messages/{sequence}/edit", edit)
    await ada.say("from here")
    await expect(ada.part("notice").filter(has_text="changed elsewhere")).to_be_visible()
    await ada.part("composer").press("Enter")
    await expect(grace.part("message-body")).to_have_text("from hereedited")
    await expect(ada.part("composer")).to_have_value("")
    await expect(ada.part("composer-about")).to_be_hidden()


async def test_an_answer_quotes_a_message_and_leads_to_it_and_who_has_read_is_shown(
    two: tuple[Visitor, Visitor],
) -> None:
    ada, grace = two
    await ada.say("One step or **three**?")
    await grace.act("One step", "reply")
    await grace.say("Three.")
    quote = ada.message("Three.").get_by_test_id("quote")
    await expect(quote).to_have_text(f"{ada.name}One step or three?")
    await quote.click()
    await expect(ada.message("One step")).to_have_class(re.compile("flash"))
    await expect(grace.part("seen-by")).to_have_text(f"Seen by {ada.name}")


async def test_a_thread_is_answered_beside_the_room_followed_and_counted(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    await ada.say("The numbers are in.")
    await grace.act("The numbers", "start-thread")
    await expect(grace.part("thread-messages").get_by_test_id("message")).to_have_count(1)
    await grace.part("thread-composer").press_sequentially("Which")
    await ada.act("The numbers", "start-thread")
    await expect(ada.part("thread-composer-typing")).to_have_text(f"{grace.name} is typing…")
    await grace.part("thread-composer").fill("Which ones?")
    await grace.part("thread-composer").press("Enter")
    await expect(ada.part("thread-messages").get_by_test_id("message")).to_have_count(2)
    await expect(ada.message("The numbers").get_by_test_id("thread-link")).to_contain_text("1 reply")
    await expect(ada.part("thread-follow")).to_have_text("Following")
    await expect(ada.message("Which ones?").get_by_test_id("in-thread")).to_be_visible()
    await ada.click("close-thread", "open-threads")
    await expect(ada.part("followed-thread").first).to_contain_text("1 reply")
    await ada.part("followed-thread").first.click()
    await expect(ada.part("thread-messages").get_by_test_id("message")).to_have_count(2)
    await ada.click("close-thread")
    await grace.click("close-thread")


async def test_pins_are_listed_as_they_come_and_go(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    await ada.say("The plan: ship on Friday")
    await grace.click("show-pins")
    await expect(grace.part("pins-told")).to_contain_text("Nothing is pinned")
    await ada.act("The plan", "message-menu", "pin-message")
    await expect(grace.part("pinned")).to_contain_text("ship on Friday")
    await expect(grace.part("pinned-mark")).to_be_visible()
    await ada.act("The plan", "message-menu", "pin-message")
    await expect(grace.part("pinned")).to_have_count(0)
    await grace.click("close-pins")


async def test_names_are_offered_and_a_mention_is_counted_and_told(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    met = await ada.part("room-name").text_content() or ""
    await grace.create_room(f"aside {uuid.uuid4().hex[:8]}")
    await expect(ada.part("member-count")).to_have_text("2")
    await ada.part("composer").press_sequentially("@gra")
    await expect(ada.part("suggestion")).to_contain_text([grace.name])
    await ada.part("composer").press("Enter")
    await expect(ada.part("composer")).to_have_value(f"@{grace.name} ")
    await ada.part("composer").press_sequentially("look")
    await ada.part("composer").press("Enter")
    await expect(grace.row_of(met).get_by_test_id("mention-badge")).to_have_text("@1")
    await expect(grace.part("notification-badge")).to_have_text("1")
    await grace.click("show-notifications")
    await grace.part("notification").filter(has_text=met).click()
    await expect(grace.part("mention")).to_have_text(f"@{grace.name}")
    await expect(grace.part("mention")).to_have_class("mention me")
    await expect(grace.part("notification-badge")).to_be_hidden()
    await expect(grace.part("mention-badge")).to_have_count(0)
    await grace.click("close-notifications")


async def test_files_are_sent_shown_and_opened(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    files: list[FilePayload] = [
        {"name": "plan.png", "mimeType": "image/png", "buffer": png()},
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"what we said\n" * 200_000},
    ]
    await ada.part("composer-files").set_input_files(files)
    await expect(ada.part("upload")).to_have_count(2)
    for upload in await ada.part("upload").all():
        await expect(upload).to_have_attribute("data-state", "ready")
    await ada.click("send")
    image = grace.part("thumbnail").locator("img")
    await expect(image).to_have_js_property("naturalWidth", 64)
    await grace.click("thumbnail")
    await expect(grace.part("viewer-dialog").locator("img")).to_have_js_property("complete", True)
    await grace.click("viewer-close")
    async with grace.page.expect_download() as download:
        await grace.click("file-card")
    assert (await download.value).suggested_filename == "notes.txt"
    assert await ada.bodies() == []


async def test_files_are_dropped_on_the_room_and_their_way_is_shown(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    room = ada.part("room")
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        held.set()
        await go_on.wait()
        await route.continue_()

    await ada.page.route("**/parts/1", hold)
    dragged = await ada.page.evaluate_handle(DRAGGED)
    await room.dispatch_event("dragover", {"dataTransfer": dragged})
    await expect(room).to_have_class(re.compile("dropping"))
    await room.dispatch_event("dragleave", {"dataTransfer": dragged})
    await expect(room).not_to_have_class(re.compile("dropping"))
    await room.dispatch_event("drop", {"dataTransfer": dragged})
    upload = ada.part("upload")
    await asyncio.wait_for(held.wait(), 10)
    await expect(upload).to_contain_text("40 %")
    await expect(upload.locator("progress")).to_have_js_property("value", 0.4)
    await expect(ada.part("send")).to_be_disabled()
    go_on.set()
    await expect(upload).to_have_attribute("data-state", "ready")
    await ada.click("send")
    await expect(grace.part("file-card")).to_contain_text("2.5 MB")
    # One that is dropped beside the room is not opened in place of the page.
    assert not await ada.part("sidebar").evaluate(DROPPED, dragged)
    # And what is given up on its way is gone.
    go_on.clear()
    held.clear()
    await room.dispatch_event("drop", {"dataTransfer": dragged})
    await asyncio.wait_for(held.wait(), 10)
    await ada.click("upload-remove")
    await expect(upload).to_have_count(0)
    go_on.set()
    await ada.page.unroute_all(behavior="ignoreErrors")


async def test_a_message_is_forwarded_to_another_room_and_leads_back(two: tuple[Visitor, Visitor]) -> None:
    ada, _ = two
    met = await ada.part("room-name").text_content() or ""
    await ada.create_room(aside := f"aside {uuid.uuid4().hex[:8]}")
    await ada.open_room(met)
    await ada.say("Pass it on")
    await ada.sees("Pass it on")
    await ada.act("Pass it on", "message-menu", "forward-message")
    await ada.part("forward-room").filter(has_text=aside).click()
    await expect(ada.part("notice").filter(has_text=f"Forwarded to {aside}")).to_be_visible()
    await ada.open_room(aside)
    await ada.click("forward")
    await expect(ada.part("room-name")).to_have_text(met)
    await expect(ada.message("Pass it on")).to_have_class(re.compile("flash"))


async def test_a_file_that_is_not_taken_says_why_and_can_be_removed(two: tuple[Visitor, Visitor]) -> None:
    ada, _ = two
    await ada.part("composer-files").set_input_files(
        {"name": "page.html", "mimeType": "text/html", "buffer": MARKUP.encode()}
    )
    await expect(ada.part("upload")).to_have_attribute("data-state", "failed")
    await expect(ada.part("send")).to_be_disabled()
    await ada.click("upload-remove")
    await expect(ada.part("upload")).to_have_count(0)
    ada.errors.clear()  # the browser's own word for the refusal


async def test_search_finds_and_leads_to_a_message(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    word = f"pelican{uuid.uuid4().hex[:8]}"
    met = await ada.part("room-name").text_content() or ""
    await ada.say(f"The {word} has landed")
    await grace.sees(f"The {word} has landed")
    await grace.create_room(f"aside {uuid.uuid4().hex[:8]}")
    await grace.click("open-search")
    result = grace.part("search-result")

    async def found() -> bool:
        # What was just said is taken in within moments. Until then a user asks again, too.
        await grace.part("search-input").press("Enter")
        return await result.count() > 0

    await grace.part("search-input").fill(word)
    await until(found, "the message is found")
    await expect(result).to_contain_text(met)
    await result.click()
    await expect(grace.part("room-name")).to_have_text(met)
    await grace.sees(f"The {word} has landed")
    await grace.click("close-search")


async def test_drafts_are_kept_by_room_and_on_another_page_and_messages_can_wait(two: tuple[Visitor, Visitor]) -> None:
    ada, _ = two
    met = await ada.part("room-name").text_content() or ""
    await ada.part("composer").fill("half a thou")
    await ada.create_room(f"aside {uuid.uuid4().hex[:8]}")
    await expect(ada.part("composer")).to_have_value("")
    other = await ada.page.context.new_page()
    await other.goto(ada.page.url)
    row = other.get_by_test_id("room-row").filter(has_text=met)
    await row.click()
    await expect(other.get_by_test_id("composer")).to_have_value("half a thou")
    await other.close()
    await ada.open_room(met)
    await expect(ada.part("composer")).to_have_value("half a thou")
    await ada.click("composer-later", "schedule-submit")
    await expect(ada.part("composer")).to_have_value("")
    await ada.click("user-menu", "open-scheduled")
    await expect(ada.part("scheduled")).to_contain_text("half a thou")
    await ada.click("unschedule")
    await expect(ada.part("scheduled")).to_have_count(0)
    await ada.click("schedule-close")


async def test_hostile_names_texts_data_and_files_are_shown_and_do_nothing(two: tuple[Visitor, Visitor]) -> None:
    ada, grace = two
    name = f"{MARKUP}{uuid.uuid4().hex[:6]}"
    await ada.over_rest("PUT", "/auth/me", {"name": name})
    # Members are called as they were when they came.
    met = f"room {uuid.uuid4().hex[:8]}"
    await ada.create_room(met)
    await grace.join_room(met)
    said = f"{MARKUP} **{MARKUP}** `{MARKUP}` [x](javascript:alert(1)) @{MARKUP}"
    message = {
        "id": "hostile",
        "body": said,
        "data": {"command": {"name": MARKUP}, "__proto__": {"x": 1}, MARKUP: MARKUP},
    }
    sent = await ada.over_rest("POST", "/api/rooms/{room}/messages", message)
    await ada.over_rest(
        "POST", f"/api/rooms/{{room}}/messages/{sent['sequence']}/react", {"id": "r", "emoji": "<b>x</b>"}
    )
    await ada.over_rest("POST", "/api/rooms/{room}/update", {"id": "u", "name": f"{MARKUP} room", "topic": MARKUP})
    await ada.part("composer-files").set_input_files(
        {"name": f"{MARKUP.replace('/', '')}.png", "mimeType": "image/png", "buffer": png()}
    )
    await expect(ada.part("upload")).to_have_attribute("data-state", "ready")
    await ada.click("send")
    await expect(grace.part("thumbnail")).to_have_attribute("aria-label", f"Open {MARKUP}.png")
    await expect(grace.part("room-name")).to_have_text(f"{MARKUP} room")
    await expect(grace.part("command-mark")).to_have_text(f"/{MARKUP}")
    await expect(grace.part("reaction")).to_have_text("<b>x</b> 1")
    await expect(grace.part("author").first).to_have_text(name)
    await grace.click("show-members")
    await expect(grace.part("member").filter(has_text=name)).to_be_visible()
    await grace.click("open-search", "show-notifications", "show-pins", "close-pins")
    await grace.part("composer").press_sequentially("@<im")
    await expect(grace.part("suggestion")).to_contain_text(name)
    await grace.part("composer").fill("")
    for visitor in two:
        for place in ("src='x'", "src=x", "onerror"):
            assert await visitor.page.locator(f"[{place}]").count() == 0
        assert await visitor.page.locator("a[href^='javascript:']").count() == 0
        assert await visitor.part("messages").locator("b").count() == 0
