"""Which service a path belongs to, and what the front says about all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Request

from parley.cli.stack.single_port import SinglePort
from parley.common.http.health import health_router


def service(name: str, journal: list[str], problem: str | None = None) -> FastAPI:
    """An app that says who it is, what its lifespan gave it, and when it starts and stops."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[dict[str, str]]:
        journal.append(f"{name} starts")
        yield {"owner": name}
        journal.append(f"{name} stops")

    async def check() -> str | None:
        return problem

    app = FastAPI(lifespan=lifespan)
    app.include_router(health_router({"database": check}))

    @app.get("/{path:path}")
    async def whoami(request: Request) -> str:
        return request.state.owner

    _ = whoami
    return app


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/auth/login", "auth"),
        ("/admin", "auth"),
        ("/api/rooms", "chat"),
        ("/", "gateway"),
        ("/socket.io/", "gateway"),
        ("/administrator", "gateway"),
        ("//auth/login", "gateway"),
    ],
)
async def test_a_path_goes_to_the_service_that_owns_its_first_segment(path: str, owner: str) -> None:
    front = SinglePort({name: service(name, []) for name in ("auth", "chat", "gateway")})
    transport = httpx.ASGITransport(front)
    async with front.running(), httpx.AsyncClient(transport=transport, base_url="http://parley") as client:
        answer = await client.get(f"http://parley{path}")
    assert answer.json() == owner


async def test_services_start_in_order_and_stop_in_reverse() -> None:
    journal: list[str] = []
    front = SinglePort({name: service(name, journal) for name in ("auth", "gateway")})
    async with front.running():
        assert journal == ["auth starts", "gateway starts"]
    assert journal[2:] == ["gateway stops", "auth stops"]


async def test_readiness_names_the_service_that_is_not_ready() -> None:
    front = SinglePort({"auth": service("auth", [], "no route to host"), "gateway": service("gateway", [])})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://parley") as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "problems": {"auth": {"database": "no route to host"}}}
