"""The endpoints `/healthz`, `/readyz` and `/metrics`, the same on every service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], Awaitable[str | None]]
"""Returns the reason for which a dependency is not ready, or None."""

CHECK_SECONDS = 3.0
"""Seconds that a check may take; a slower one counts as not ready, since `/readyz` has to answer."""


def health_router(checks: Mapping[str, Check], notes: Mapping[str, Callable[[], str]] | None = None) -> APIRouter:
    """Make the routes that tell whether the process lives, whether it can serve, and its metrics.

    `/readyz` answers 503 while a check fails. `notes` are shown beside the checks and never make it fail.
    """
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", summary="The process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="The process can serve; 503 says what is missing")
    async def readyz() -> JSONResponse:
        # All at once: an orchestrator waits a second or two, however many parts hang.
        found = await asyncio.gather(*(_bounded(check) for check in checks.values()))
        problems = dict(zip(checks, found, strict=True))
        ready = not any(found)
        return JSONResponse(
            {
                "ready": ready,
                "checks": {name: problem or "ok" for name, problem in problems.items()},
                **({"notes": {name: note() for name, note in notes.items()}} if notes else {}),
            },
            status_code=200 if ready else 503,
        )

    @router.get("/metrics", summary="Metrics in Prometheus' text format")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    # Some monitors ask with HEAD. uvicorn leaves the body out by itself.
    for path, answer in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics)):
        router.head(path, include_in_schema=False)(answer)
    return router


async def _bounded(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
