"""A real provider of OpenID Connect: npm's `oidc-provider` as a process, and somebody who logs in at it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.support.paths import CLIENTS
from tests.support.waiting import until

HAS_PROVIDER = shutil.which("node") is not None and (CLIENTS / "node_modules" / "oidc-provider").is_dir()
SECRET = "a secret of the company's, with / and : in it"


class IdentityProvider:
    """The provider `company` of the stack at an address, on a port of its own."""

    def __init__(self, port: int, stack_url: str, log: Path) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self._log = log
        client = {
            "client_id": "parley",
            "client_secret": SECRET,
            "redirect_uris": [f"{stack_url}/auth/oidc/company/callback"],
            "post_logout_redirect_uris": [f"{stack_url}/"],
            "backchannel_logout_uri": f"{stack_url}/auth/oidc/company/backchannel-logout",
            "backchannel_logout_session_required": True,
        }
        self._arguments = ["node", str(CLIENTS / "identity_provider.mjs"), str(port), json.dumps([client])]
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.AsyncClient(base_url=self.issuer)

    def settings(self, directory: Path) -> dict[str, str]:
        """What the stack has to be told of it."""
        file = directory / "providers.toml"
        file.write_text(f"""
[oidc.company]
issuer = "{self.issuer}"
client_id = "parley"
client_secret = "{SECRET}"
label = "Company account"
scopes = ["openid", "profile", "email", "groups"]
roles_claim = "groups"
roles = {{chat-admins = ["admin"]}}
""")
        return {"PARLEY_AUTH_PROVIDERS_FILE": str(file)}

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._launch()

        async def answers() -> bool:
            try:
                return (await self.http.get("/.well-known/openid-configuration")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers, self._log.read_text, 30)

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._arguments, stdout=log, stderr=log)

    def stop(self) -> None:
        """End it; what it kept is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def change_keys(self) -> None:
        """From now on it signs with a new key, and publishes that one alone."""
        assert (await self.http.post("/control/keys")).status_code == 204


class Person:
    """Somebody with a browser, who logs in through an identity provider."""

    def __init__(self, name: str, stack_url: str) -> None:
        self.name = name
        self._stack_url = stack_url
        self.http = httpx.AsyncClient()

    async def log_in(self, **query: str) -> dict[str, str]:
        """Go to the provider and come back; returns what the page is given then."""
        return await self.come_back(await self.go(**query))

    async def go(self, **query: str) -> str:
        """Log in at the provider; returns where it sends the browser."""
        url = str(httpx.URL(f"{self._stack_url}/auth/oidc/company/start", params=query))
        return await self._follow(url, f"{self._stack_url}/auth/oidc/company/callback")

    async def come_back(self, callback: str) -> dict[str, str]:
        """Follow the provider's answer to where it ends."""
        return dict(parse_qsl(urlsplit(await self._follow(callback, f"{self._stack_url}/?")).query))

    async def exchange(self, code: str) -> httpx.Response:
        """Exchange a login's code, as the page does."""
        return await self.http.post(f"{self._stack_url}/auth/oidc/token", json={"code": code})

    async def log_out_at(self, provider: IdentityProvider) -> None:
        """Log out at the provider, without a word to the stack."""
        page = await self.http.get(f"{provider.issuer}/session/end")
        answer = await self._submit(page, {"logout": "yes"})
        assert answer.status_code < 400, answer.text

    async def _follow(self, url: str, end: str) -> str:
        for _ in range(20):
            if url.startswith(end):
                return url
            page = await self.http.get(url)
            if page.status_code == 200:
                page = await self._submit(page, {"login": self.name, "password": "any"})
            assert page.is_redirect, f"{url}: {page.status_code} {page.text[:500]}"
            url = str(page.url.join(page.headers["location"]))
        raise AssertionError(f"it never ends: {url}")

    async def _submit(self, page: httpx.Response, filled: dict[str, str]) -> httpx.Response:
        action = re.search(r'<form[^>]*action="([^"]+)"', page.text)
        assert action is not None, page.text
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        return await self.http.post(page.url.join(action[1]), data=hidden | filled)
