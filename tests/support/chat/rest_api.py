"""Chat's REST API, served in this process; who asks is whoever the token says."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from parley.chat.app import create_app
from parley.chat.settings import ChatSettings
from parley.common.errors import MEANINGS, Code
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Authenticate, Identity

ADMIN = Identity("u_admin", "admin", ("admin",))


class Rest:
    """A client of the API; who asks is whoever the token says."""

    def __init__(self, http: httpx.AsyncClient, app: Any = None) -> None:
        self.http = http
        self.app = app

    async def send(
        self, method: str, path: str, body: Any = None, *, user: str = "ann", content: bytes | None = None, **query: Any
    ) -> tuple[int, dict[str, Any]]:
        headers = {"authorization": f"Bearer {user}", "content-type": "application/json"}
        content = msgspec.json.encode(body) if body is not None else content
        answer = await self.http.request(method, f"/api{path}", headers=headers, content=content, params=query)
        return answer.status_code, answer.json()

    async def code(self, method: str, path: str, body: Any = None, **options: Any) -> str:
        """The code of a refusal, whose status must be that of the table."""
        status, answer = await self.send(method, path, body, **options)
        code = Code(answer["error"]["code"])
        assert status == MEANINGS[code].status
        return str(code)

    async def room(self, **fields: Any) -> str:
        status, answer = await self.send("POST", "/rooms", {"name": "General"} | fields)
        assert status == 200, answer
        return answer["room"]["id"]


@asynccontextmanager
async def running_rest(database_url: str, nats_url: str, bus: Bus, **settings: Any) -> AsyncGenerator[Rest]:
    async def authenticate(request: Authenticate) -> Identity:
        return ADMIN if request.token == "admin" else Identity(f"u_{request.token}", request.token)

    await bus.respond(subjects.AUTHENTICATE, Authenticate, authenticate, "auth")
    app = create_app(ChatSettings(database_url=database_url, nats_url=nats_url, instance="c1", **settings))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://c") as http:
        yield Rest(http, app)
