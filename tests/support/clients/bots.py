"""Bots with their API keys, as their owners make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.clients.people import AnyClient, AnyStack, People


@dataclass
class ConnectedBot:
    """A bot with a client."""

    client: AnyClient
    id: str
    key: str
    owner_token: str

    async def delete(self, stack: AnyStack) -> None:
        """Have its owner delete it."""
        await _ask(stack, "DELETE", f"/{self.id}", self.owner_token)


async def make_bot(people: People, stack: AnyStack, name: str, **options: Any) -> ConnectedBot:
    """A new bot with a connected client, which may read and write."""
    owner = (await people.account("owner"))["access_token"]
    bot = (await _ask(stack, "POST", "", owner, {"name": name}))["id"]
    scopes = ["chat:read", "chat:write"]
    key = (await _ask(stack, "POST", f"/{bot}/keys", owner, {"name": "key", "scopes": scopes}))["key"]
    client = await people.attempt({"token": key}, **options)
    await client.connected()
    return ConnectedBot(client, bot, key, owner)


async def _ask(stack: AnyStack, method: str, path: str, token: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    answer = await stack.http.request(method, f"{stack.auth.url}/auth/bots{path}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()
