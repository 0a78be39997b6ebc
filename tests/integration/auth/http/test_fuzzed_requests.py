"""Requests of every shape to `/auth`, `/admin` and `/api`, made by schemathesis from the OpenAPI documents."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from parley.chat.app import create_app
from parley.chat.settings import ChatSettings
from parley.common.http.connection.server import http_options
from tests.support.auth.service import running_auth
from tests.support.services.serving import listening

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "2"))
"""Requests of each kind for an endpoint: few, so that the suite stays quick, and the same each time."""
SEED = 7


async def fuzz(url: str, token: str, directory: Path) -> tuple[int | None, str]:
    """Have schemathesis send what a document allows and what it does not; nothing may be answered with a 5xx."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")), "run", url,
        "--checks", "not_a_server_error", "--phases", "fuzzing", "--max-examples", str(EXAMPLES),
        "--seed", str(SEED), "--generation-database", "none", "--header", f"Authorization: Bearer {token}",
        "--warnings", "off", "--no-color", "--continue-on-failure",
        cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize("document", ["/auth/openapi.json", "/api/openapi.json"])
async def test_no_request_makes_a_server_fail(document: str, database_url: str, own_nats: Any, tmp_path: Path):
    async with running_auth(database_url, own_nats.url) as auth:
        app, ledger = auth.app, tmp_path / "erasures.jsonl"
        chat = create_app(
            ChatSettings(database_url=database_url, nats_url=own_nats.url, instance="chat1", chat_erasure_ledger=ledger)
        )
        async with chat.router.lifespan_context(chat):
            served = chat if document.startswith("/api") else app
            async with listening(served, lifespan="off", **http_options()) as port:
                token = await auth.admin_token()
                code, said = await fuzz(f"http://127.0.0.1:{port}{document}", token, tmp_path)
    assert code == 0, said[-6000:]
    assert "Operations:" in said
