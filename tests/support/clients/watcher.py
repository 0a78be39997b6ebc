"""A stock client that looks at a room, and who is there by the answer and the events that came since."""

from __future__ import annotations

from typing import Any

from tests.support.clients.people import AnyClient


class Watcher:
    """What a client knows of who is in one room, as an app would keep it."""

    def __init__(self, client: AnyClient, room: str) -> None:
        self.client = client
        self.room = room
        self.answer: dict[str, Any] = {}
        self._from = 0

    async def look(self) -> dict[str, Any]:
        """Look at the room, and begin anew with the answer."""
        answer = await self.client.emit("presence", {"room": self.room})
        if answer["ok"]:
            self.answer, self._from = answer, len(self.client.events)
        return answer

    @property
    def here(self) -> dict[str, str]:
        """Who is there, each with a state."""
        states = {user["id"]: user["state"] for user in self.answer["users"]}
        for event, change in self.client.events[self._from :]:
            if event == "presence" and change["room"] == self.room:
                if change.get("whole"):
                    states = {}
                states |= {user["id"]: user["state"] for user in change["users"]}
        return {user: state for user, state in states.items() if state != "offline"}

    async def sees(self, here: dict[str, str], seconds: float = 15) -> None:
        """Wait until exactly these are there."""
        await self.client.until(lambda: self.here == here, f"{here}", timeout=seconds)
