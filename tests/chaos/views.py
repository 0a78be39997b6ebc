"""What one client shows of its rooms: of each a page that was loaded once, and every event since applied to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.chat.page_reducer import Page
from tests.support.room_log import ENDS

LOADED = 50
"""Events of a page when it is loaded."""
KEPT = 100
"""Events that are kept of a page, after it has grown to twice as many."""
Ask = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Asks by the client's own connection; the ack."""


class Views:
    """The pages of one client. One in which there is a gap is loaded anew."""

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self.pages: dict[str, Page] = {}
        self._came: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        """Events that came while the page of their room is loaded."""
        self._loading: set[str] = set()

    def hear(self, event: dict[str, Any]) -> None:
        """Apply an event of a room."""
        room = event["room"]
        about_reader = event["data"].get("user", {}).get("id") == self._reader
        if event["type"] in ENDS and about_reader:
            self.drop(room)
        elif room in self._loading:
            self._came[room].append(event)
        elif (page := self.pages.get(room)) is not None:
            self._apply(page, event)

    def drop(self, room: str) -> None:
        """Show a room no longer."""
        self.pages.pop(room, None)
        self._came.pop(room, None)
        self._loading.discard(room)

    async def load(self, room: str, ask: Ask) -> bool:
        """Load the page of a room, and apply to it what came meanwhile; whether it is there."""
        self._loading.add(room)
        self._came[room].clear()
        try:
            answer = await ask("history", {"room": room, "limit": LOADED})
        finally:
            came = self._came.pop(room, [])
            loading = room in self._loading
            self._loading.discard(room)
        if not loading or not isinstance(answer, dict) or not answer.get("ok"):
            return False
        self.pages[room] = page = Page(answer, self._reader)
        for event in came:
            if room in self.pages:
                self._apply(page, event)
        return room in self.pages

    def _apply(self, page: Page, event: dict[str, Any]) -> None:
        room = event["room"]
        if event["sequence"] > page.head + 1:
            self.drop(room)
            return
        page.apply(event)
        if page.stale:
            self.drop(room)
        elif len(page.events) > 2 * KEPT:
            self.pages[room] = Page({"events": page.events[-KEPT:], "head": page.head}, self._reader)

    def messages(self, room: str, most: int) -> list[dict[str, Any]]:
        """The newest messages of a room that are not deleted."""
        page = self.pages.get(room)
        events = [] if page is None else page.events[-2 * most :]
        return [event for event in events if event["type"] == "message.sent" and not event.get("erased")][-most:]
