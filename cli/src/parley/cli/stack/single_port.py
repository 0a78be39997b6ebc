"""Several services behind one port. Each path goes to the service that owns it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.datastructures import State
from starlette.types import Receive, Scope, Send

OWNERS = {"auth": "auth", "admin": "auth", "api": "chat"}
"""The service that owns a path, by the path's first segment. The gateway owns all others."""
READY_PATH = "/readyz"


class SinglePort:
    """One ASGI app in front of the services, each of which stays an app of its own."""

    def __init__(self, services: dict[str, FastAPI]) -> None:
        self._services = services
        self._states: dict[str, MutableMapping[str, Any]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Start every service in order, and stop them in reverse."""
        async with AsyncExitStack() as stack:
            for name, app in self._services.items():
                # Here, since uvicorn runs the lifespan of one app alone.
                state = await stack.enter_async_context(app.router.lifespan_context(app))
                self._states[name] = dict(state or {})
            yield

    def app_state(self, name: str) -> State:
        """Return the state of a service's app."""
        return self._services[name].state

    def state(self, name: str) -> MutableMapping[str, Any]:
        """Return what a service's lifespan yielded."""
        return self._states[name]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a WebSocket."""
        if scope["path"] == READY_PATH and scope["type"] == "http":
            problems = await self.problems()
            response = JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)
            await response(scope, receive, send)
            return
        name = OWNERS.get(scope["path"].split("/", 2)[1] if "/" in scope["path"] else "", "gateway")
        # A copy for each request, as uvicorn makes one: what an app writes there must not reach other requests.
        scope["state"] = dict(self._states.get(name, {}))
        await self._services[name](scope, receive, send)

    async def problems(self) -> dict[str, dict[str, str]]:
        """Return what keeps each service from being ready, by the name of the check. It is empty if all are ready."""
        found: dict[str, dict[str, str]] = {}
        for name, app in self._services.items():
            # By their own `/readyz`, in this process, so that what is checked is written once.
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://parley") as client:
                answer = await client.get(READY_PATH)
            if answer.status_code != 200:
                found[name] = {check: said for check, said in answer.json()["checks"].items() if said != "ok"}
        return found
