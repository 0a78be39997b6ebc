"""What all HTTP APIs answer to requests that they do not read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from structlog.testing import capture_logs

from parley.common.errors import MEANINGS, Code, Reject
from parley.common.http.api import install_errors
from parley.common.http.cors import allowed_origins, install_cors
from parley.common.process.settings import ServiceSettings

FRIEND = "https://friend.example"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that takes ten bytes."""
    app = FastAPI()
    install_errors(app, max_body=10)
    install_cors(app, ServiceSettings(environment="production", cors_origins=["HTTPS://Friend.example:443"]))

    @app.post("/")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.get("/refused/{status}")
    async def refused(status: int) -> None:
        raise HTTPException(status, "by the web framework")

    @app.get("/fast")
    async def fast() -> None:
        raise Reject(Code.RATE_LIMITED)

    @app.get("/banned")
    async def banned() -> None:
        raise Reject(Code.BANNED, "Spam")

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("hunter2")

    _ = (length, refused, fast, banned, broken)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def chunks(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"12"


async def test_a_body_in_chunks_is_taken_up_to_the_same_size(http: httpx.AsyncClient):
    answer = await http.post("/", content=chunks(5))
    assert (answer.status_code, answer.json()) == (200, 10)
    answer = await http.post("/", content=chunks(6))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


async def test_an_error_is_problem_details_and_what_acks_say_as_well(http: httpx.AsyncClient):
    answer = await http.get("/banned")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:parley:error:banned", "title": "This user is banned.", "status": 403, "detail": "Spam",
        "ok": False, "error": {"code": "banned", "message": "Spam", "retryable": False},
    }  # fmt: skip
    broken = await http.get("/broken")
    assert (broken.status_code, broken.json()["type"]) == (500, "urn:parley:error:internal")
    assert broken.headers["x-request-id"]
    assert "hunter2" not in broken.text


async def test_pages_of_the_named_origins_may_use_the_api_and_no_others(http: httpx.AsyncClient):
    preflight = {"origin": FRIEND, "access-control-request-method": "POST"}
    asked = {**preflight, "access-control-request-headers": "authorization,content-type"}
    assert (await http.options("/", headers=asked)).headers["access-control-allow-origin"] == FRIEND
    # Errors as well, or the page could not read why.
    for path in ("/fast", "/nowhere", "/broken"):
        answer = await http.get(path, headers={"origin": FRIEND})
        assert answer.headers["access-control-allow-origin"] == FRIEND, path
        assert "access-control-allow-credentials" not in answer.headers
    for stranger in ("https://evil.example", f"{FRIEND}.evil.example", "null"):
        refused = await http.options("/", headers={**preflight, "origin": stranger})
        assert (refused.status_code, refused.headers.get("access-control-allow-origin")) == (400, None)
        assert "access-control-allow-origin" not in (await http.get("/fast", headers={"origin": stranger})).headers


def test_without_named_origins_all_pages_may_come_in_development_and_none_in_production():
    assert allowed_origins(ServiceSettings()) == ["*"]
    assert allowed_origins(ServiceSettings(environment="production")) == []
    named = ServiceSettings(environment="production", cors_origins=["wss://A.example:443", "*"])
    assert allowed_origins(named) == ["https://a.example", "*"]


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


@pytest.mark.parametrize("chunked", [False, True])
async def test_who_hangs_up_in_the_middle_of_a_body_leaves_no_error_in_the_log(*, chunked: bool):
    app = FastAPI()
    install_errors(app)

    @app.post("/")
    async def length(request: Request) -> int:
        return len(await request.body())

    header = (b"transfer-encoding", b"chunked") if chunked else (b"content-length", b"100")
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [header]}
    messages = iter([{"type": "http.request", "body": b"half", "more_body": True}])

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    async def send(_message: Any) -> None:
        """Nobody hears it."""

    with capture_logs() as logged:
        await app(scope, receive, send)
    assert [entry for entry in logged if entry["log_level"] == "error"] == []
    _ = length
