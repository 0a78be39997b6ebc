"""What a client shows is a page that it loaded once and every event since, and with a gap it is loaded anew."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.chaos.views import KEPT, Views


def event(sequence: int, kind: str = "message.sent", **data: Any) -> dict[str, Any]:
    return {"type": kind, "room": "r", "sequence": sequence, "event_id": f"e{sequence}", "at": "", "data": data,
            "actor": {"id": "ann"}}  # fmt: skip


def answered(*events: dict[str, Any]) -> Any:
    async def ask(_event: str, _message: dict[str, Any]) -> Any:
        return {"ok": True, "events": list(events), "head": events[-1]["sequence"]}

    return ask


def shown(views: Views) -> list[int]:
    return [one["sequence"] for one in views.pages["r"].events]


async def test_what_comes_while_a_page_is_loaded_is_applied_to_it_and_what_it_has_is_not():
    views = Views("ben")
    asked = asyncio.Event()

    async def ask(_event: str, _message: dict[str, Any]) -> Any:
        await asked.wait()
        return {"ok": True, "events": [event(1, body="a"), event(2, body="b")], "head": 2}

    loading = asyncio.create_task(views.load("r", ask))
    await asyncio.sleep(0)
    views.hear(event(2, body="b"))
    views.hear(event(3, body="c"))
    asked.set()
    assert await loading
    assert shown(views) == [1, 2, 3]
    views.hear(event(4, body="d"))
    assert shown(views) == [1, 2, 3, 4]


async def test_a_page_with_a_gap_is_shown_no_longer_and_so_is_one_of_a_room_that_one_has_left():
    views = Views("ben")
    for last in (event(4, body="d"), event(3, "member.removed", user={"id": "ben"})):
        assert await views.load("r", answered(event(1, body="a"), event(2, body="b")))
        views.hear(last)
        assert not views.pages


async def test_a_page_that_grows_forgets_its_oldest_messages():
    views = Views("ben")
    assert await views.load("r", answered(event(1, body="a")))
    for sequence in range(2, 2 * KEPT + 2):
        views.hear(event(sequence, body="b"))
    assert shown(views) == list(range(KEPT + 2, 2 * KEPT + 2))
    assert views.pages["r"].head == 2 * KEPT + 1


async def test_a_page_that_is_refused_is_not_shown():
    views = Views("ben")

    async def ask(_event: str, _message: dict[str, Any]) -> Any:
        return {"ok": False, "error": {"code": "not_found"}}

    assert not await views.load("r", ask)
    assert not views.pages
