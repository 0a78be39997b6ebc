"""Users with second factors, as tests set them up."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx
from pyotp.totp import TOTP

from tests.support.auth.authenticator import SoftwareAuthenticator
from tests.support.auth.service import PASSWORD, Auth, bearer


class AppUser(NamedTuple):
    """Somebody with an authenticator app."""

    token: str
    user_id: str
    secret: str
    recovery_codes: list[str]


async def send(auth: Auth, method: str, path: str, body: Any, token: str = "") -> httpx.Response:
    return await auth.client.request(method, path, json=body, headers=bearer(token))


async def proof(auth: Auth, token: str, **shown: Any) -> str:
    answer = await auth.post("/auth/factors/proof", {"password": PASSWORD, **shown}, token)
    assert answer.status_code == 200, answer.text
    return answer.json()["proof"]


def code_of(auth: Auth, secret: str, steps: int = 0) -> str:
    """The app's code now, or some steps later."""
    return TOTP(secret).at(auth.components.clock.now() + 30 * steps)


async def with_app(auth: Auth, username: str = "alice") -> AppUser:
    """Somebody new who has set up an authenticator app. The code of the step before now was used for it."""
    granted = await auth.register(username)
    token = granted["access_token"]
    made = (await auth.post("/auth/factors/totp", {"proof": await proof(auth, token)}, token)).json()
    confirmed = await auth.post("/auth/factors/totp/confirm", {"code": code_of(auth, made["secret"], -1)}, token)
    assert confirmed.status_code == 200, confirmed.text
    return AppUser(token, granted["user_id"], made["secret"], confirmed.json()["recovery_codes"])


async def with_passkey(auth: Auth, token: str, key: SoftwareAuthenticator, **shown: Any) -> dict[str, Any]:
    """Register a passkey; what was answered."""
    options = await auth.post("/auth/passkeys/options", {"proof": await proof(auth, token, **shown)}, token)
    assert options.status_code == 200, options.text
    body = {"passkey": key.make(options.json()["public_key"]), "name": "Laptop"}
    answer = await auth.post("/auth/passkeys", body, token)
    assert answer.status_code == 200, answer.text
    return answer.json()


def demanded(response: httpx.Response, code: str = "second_factor_required") -> dict[str, Any]:
    """What a login asks for besides the password."""
    error = response.json()["error"]
    assert error["code"] == code, response.text
    return error["data"]


async def ticket(auth: Auth, username: str = "alice", password: str = PASSWORD) -> str:
    return demanded(await auth.login(username, password))["ticket"]
