"""Health routes: monitors ask with HEAD as well as with GET."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from parley.common.http import health
from parley.common.http.health import health_router


@pytest.mark.parametrize(("problem", "ready"), [(None, 200), ("unreachable", 503)])
async def test_head_is_answered_like_get(problem: str | None, ready: int):
    async def check() -> str | None:
        return problem

    app = FastAPI()
    app.include_router(health_router({"database": check}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        for path, status in (("/healthz", 200), ("/readyz", ready), ("/metrics", 200)):
            assert [(await client.request(method, path)).status_code for method in ("HEAD", "GET")] == [status, status]
        assert "head" not in (await client.get("/openapi.json")).json()["paths"]["/healthz"]


async def test_a_check_without_an_answer_is_not_ready_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch):
    async def lost() -> str | None:
        return await asyncio.get_running_loop().create_future()

    async def fine() -> str | None:
        return None

    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)
    app = FastAPI()
    app.include_router(health_router({"database": lost, "bus": fine}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "no answer within 0.05 s", "bus": "ok"}
