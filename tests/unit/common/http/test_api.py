"""What all HTTP APIs answer to requests that they do not read."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request

from parley.common.errors import MEANINGS, Code, Reject
from parley.common.http.api import install_errors


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that takes ten bytes."""
    app = FastAPI()
    install_errors(app, max_body=10)

    @app.post("/")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.get("/refused/{status}")
    async def refused(status: int) -> None:
        raise HTTPException(status, "by the web framework")

    @app.get("/fast")
    async def fast() -> None:
        raise Reject(Code.RATE_LIMITED)

    _ = (length, refused, fast)
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


async def test_statuses_are_those_of_the_codes_whoever_refuses(http: httpx.AsyncClient):
    for method, path, code in (("PUT", "/", "not_found"), ("GET", "/nowhere", "not_found")):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (MEANINGS[Code(code)].status, code)
    assert (await http.put("/")).headers["allow"] == "POST"
    refused = await http.get("/refused/400")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_payload")
    broken = await http.get("/refused/502")
    assert (broken.status_code, broken.json()["error"]["code"]) == (500, "internal")


async def test_who_is_too_fast_is_told_when_to_come_again(http: httpx.AsyncClient):
    answer = await http.get("/fast")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
