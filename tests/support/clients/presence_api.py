"""Who is there, as users ask chat over REST."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.clients.people import HasUrl


class PresenceApi:
    """One user's requests to one chat."""

    def __init__(self, http: httpx.AsyncClient, chat: HasUrl, account: dict[str, Any]) -> None:
        self._http = http
        self._url = f"{chat.url}/api"
        self._headers = {"authorization": f"Bearer {account['access_token']}"}

    async def room(self, room: str, **query: Any) -> dict[str, Any]:
        """Who of a room is there."""
        answer = await self._http.get(f"{self._url}/rooms/{room}/presence", headers=self._headers, params=query)
        return answer.json()

    async def own(self) -> dict[str, Any]:
        """What one is shown as."""
        return (await self._http.get(f"{self._url}/me/presence", headers=self._headers)).json()

    async def choose(self, **fields: Any) -> dict[str, Any]:
        """Choose what one is shown as."""
        return (await self._http.post(f"{self._url}/me/presence", headers=self._headers, json=fields)).json()

    async def shows(self, room: str, here: dict[str, str]) -> bool:
        """Whether exactly these are there, and nobody may be missing."""
        answer = await self.room(room)
        return states(answer) == here and answer["count"] == len(here) and not answer["partial"]


def states(answer: dict[str, Any]) -> dict[str, str]:
    """The state of each user in an answer that was given."""
    assert answer["ok"], answer
    return {user["id"]: user["state"] for user in answer["users"]}
