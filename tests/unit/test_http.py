"""What all HTTP APIs answer to requests that they do not read."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from parley.common.http import install_errors


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that takes ten bytes."""
    app = FastAPI()
    install_errors(app, max_body=10)

    @app.post("/")
    async def length(request: Request) -> int:
        return len(await request.body())

    _ = length
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def chunks() -> AsyncIterator[bytes]:
    yield b"12"


async def test_a_body_without_a_length_is_answered_411_and_says_why(http: httpx.AsyncClient):
    answer = await http.post("/", content=chunks())
    assert answer.status_code == 411
    assert answer.json()["error"]["code"] == "invalid_payload"
    assert "Content-Length" in answer.json()["error"]["message"]


async def test_a_body_that_is_too_long_is_answered_413(http: httpx.AsyncClient):
    assert (await http.post("/", content=b"x" * 10)).json() == 10
    answer = await http.post("/", content=b"x" * 11)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    assert "10 bytes" in answer.json()["error"]["message"]
