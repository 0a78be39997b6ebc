"""Auth, and the provider that people log in at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from parley.auth.oidc import provider
from parley.auth.tokens import issuer_keys
from tests.support.auth.lying_provider import CLIENT, Lying
from tests.support.auth.service import Auth, running_auth

APP = "com.example.app:/signed-in"
LOOPBACK = "http://127.0.0.1/signed-in"


@pytest.fixture
async def lying() -> AsyncIterator[Lying]:
    issuer = Lying()
    runner = web.AppRunner(issuer.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield issuer
    await runner.cleanup()


@pytest.fixture
async def auth(database_url: str, nats_url: str, lying: Lying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
               request: pytest.FixtureRequest) -> AsyncIterator[Auth]:  # fmt: skip
    """Auth with two providers, which are one: what is said of the one and what is said of the other is told apart."""
    monkeypatch.setattr(provider, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(provider, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(issuer_keys, "REFETCH_INTERVAL", 0.0)
    file = tmp_path / "providers.toml"
    more = getattr(request, "param", "")
    file.write_text(f"""
[oidc.company]
issuer = "{lying.url}"
client_id = "{CLIENT}"
client_secret = "a secret with / and : in it"
roles_claim = "groups"
roles = {{chat-admins = ["admin"]}}
{more}
""")
    options = {"auth_providers_file": file, "auth_redirect_uris": [APP, LOOPBACK]}
    async with running_auth(database_url, nats_url, **options) as running:
        yield running
