"""NUL and half of a surrogate pair in each text of each request to `/auth`, `/admin` and `/api`: never a failure."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from parley.auth.accounts.guessing.attempt_counts import AttemptLimit
from parley.chat.app import create_app
from parley.chat.settings import ChatSettings
from parley.common.http.connection.server import http_options
from tests.fuzz.api.documents import Endpoint, Surface, add_endpoints
from tests.fuzz.api.odd_text import OddRequest, failure, requests
from tests.fuzz.api.people import SAME
from tests.fuzz.api.run import KNOWN
from tests.fuzz.api.values import Generator
from tests.support.auth.service import ADMIN_PASSWORD, Auth, bearer, running_auth
from tests.support.clients.plain_http import plain_http
from tests.support.services.serving import listening

AT_ONCE = 4
"""Requests at a time: of some kinds no more are taken, and alone each takes long."""


async def things(auth: Auth, chat: Any) -> dict[str, Any]:
    """What exists, by the names of fields: an account, a bot with a key, and a room with a message."""
    token = await auth.admin_token()
    account = await auth.register("ann")
    bot = (await auth.post("/auth/bots", {"name": "robot"}, token)).json()["id"]
    key = (await auth.post(f"/auth/bots/{bot}/keys", {"name": "key", "scopes": ["chat:read"]}, token)).json()
    transport = httpx.ASGITransport(chat)
    async with httpx.AsyncClient(transport=transport, base_url="http://chat/api", headers=bearer(token)) as http:
        room = (await http.post("/rooms", json={"name": "Room"})).json()["room"]["id"]
        sent = (await http.post(f"/rooms/{room}/messages", json={"body": "hello"})).json()["sequence"]
    return dict(KNOWN) | {
        "user": account["user_id"], "bot_id": bot, "key_id": key["id"], "password": "not the right one", "room": room,
        "sequence": sent,
    }  # fmt: skip


async def odd_answers(
    http: httpx.AsyncClient, surface: Surface, auth: Auth, known: dict[str, Any]
) -> list[tuple[str, httpx.Response]]:
    """What each odd request to each endpoint is answered."""
    generator = Generator(surface.definitions, lambda name, _: known.get(SAME.get(name, name)), whole=True)
    answers: list[tuple[str, httpx.Response]] = []
    turns = asyncio.Semaphore(AT_ONCE)

    async def send(endpoint: Endpoint, asked: OddRequest, headers: dict[str, str]) -> None:
        said = httpx.Headers(headers | asked.headers, encoding="latin-1")
        async with turns:
            answer = await http.request(endpoint.method, asked.address, content=asked.content, headers=said)
        answers.append((f"{endpoint.method} {endpoint.path} {asked.what}", answer))

    for endpoint in surface.endpoints:
        # Anew each time, since some of them end sessions; a proof is good in its session.
        token = await auth.admin_token()
        known |= (await auth.post("/auth/factors/proof", {"password": ADMIN_PASSWORD}, token)).json()
        headers = bearer(token) | {"content-type": "application/json"}
        await asyncio.gather(*(send(endpoint, asked, headers) for asked in requests(endpoint, generator)))
    return answers


@pytest.mark.parametrize("document", ["/auth/openapi.json", "/api/openapi.json"])
async def test_no_odd_text_in_a_request_makes_a_server_fail(
    document: str, database_url: str, own_nats: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Who is told to come later is told nothing else.
    monkeypatch.setattr(AttemptLimit, "take", lambda *_: None)
    settings: dict[str, Any] = {
        "chat_uploads": str(tmp_path / "files"), "chat_erasure_ledger": tmp_path / "erasures", "chat_previews": True,
        "chat_user_requests_burst": 100_000, "instance": "chat1",
    }  # fmt: skip
    async with running_auth(database_url, own_nats.url) as auth:
        chat = create_app(ChatSettings(database_url=database_url, nats_url=own_nats.url, **settings))
        async with chat.router.lifespan_context(chat):
            served = chat if document.startswith("/api") else auth.app
            async with listening(served, lifespan="off", **http_options()) as port, plain_http(timeout=60) as http:
                surface = Surface()
                await add_endpoints(surface, http, f"http://127.0.0.1:{port}", document, "/")
                answers = await odd_answers(http, surface, auth, await things(auth, chat))
    refused = [(what, answer) for what, answer in answers if answer.status_code >= 400]
    assert [f"{what}: {answer.text[:300]}" for what, answer in refused if failure(answer.json())] == []
    assert len(refused) > 300
