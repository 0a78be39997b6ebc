"""An adopter's service that looks at texts, and does what its texts say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class ScreeningService:
    """Answers by the words in a text; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.url = ""
        self.stuck = asyncio.Event()
        """Texts with `slow` are answered after this."""

    async def _answer(self, request: web.Request) -> web.Response:
        said = await request.json()
        self.asked.append(said)
        self.tokens.add(request.headers.get("authorization", ""))
        body: str = said["body"]
        if "slow" in body:
            await self.stuck.wait()
        if "broken" in body:
            return web.Response(status=500)
        if "nonsense" in body:
            return web.json_response({"verdict": "perhaps"})
        if "endless" in body:
            return web.Response(body=b" " * 100_000)
        if "vile" in body:
            return web.json_response({"verdict": "reject", "label": "hate", "message": "Be kind."})
        if "odd" in body:
            return web.json_response({"verdict": "flag", "label": "odd"})
        return web.json_response({"verdict": "allow"})

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncGenerator[ScreeningService]:
        """Listen on a free port."""
        service = cls()
        app = web.Application()
        app.router.add_post("/", service._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        try:
            yield service
        finally:
            service.stuck.set()
            await runner.cleanup()
