"""Health routes: monitors ask with HEAD as well as with GET."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from parley.common.health import health_router


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
