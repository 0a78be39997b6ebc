"""Passkeys: as a second factor, as a login by themselves, and what an authenticator or a page may not say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from parley.auth.factors import passkeys
from tests.support.auth.authenticator import SoftwareAuthenticator, encoded
from tests.support.auth.second_factors import demanded, proof, send, with_app, with_passkey
from tests.support.auth.service import PASSWORD, Auth, code, running_auth


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


@pytest.fixture
async def token(auth: Auth) -> str:
    return (await auth.register())["access_token"]


async def login_options(auth: Auth) -> dict[str, Any]:
    answer = await auth.post("/auth/passkeys/login-options")
    assert answer.status_code == 200, answer.text
    return answer.json()["public_key"]


async def login(auth: Auth, credential: dict[str, Any]) -> httpx.Response:
    return await auth.post("/auth/passkeys/login", {"passkey": credential})


async def test_a_passkey_logs_in_by_itself(auth: Auth, token: str) -> None:
    key = SoftwareAuthenticator()
    made = await with_passkey(auth, token, key)
    assert len(made["recovery_codes"]) == 10
    options = await login_options(auth)
    assert (options["userVerification"], options["rpId"], options["allowCredentials"]) == ("required", "localhost", [])
    entered = await login(auth, key.sign(options))
    assert entered.status_code == 200, entered.text
    (session, _) = (await auth.get("/auth/sessions", entered.json()["access_token"])).json()["sessions"]
    assert session["method"] == "passkey"
    (mine,) = (await auth.get("/auth/factors", token)).json()["passkeys"]
    assert (mine["name"], mine["last_used_at"] is not None) == ("Laptop", True)


async def test_a_passkey_is_a_second_factor_which_need_not_know_its_user(auth: Auth, token: str) -> None:
    key = SoftwareAuthenticator(verifies=False)
    await with_passkey(auth, token, key)
    asked = demanded(await auth.login())
    assert asked["methods"] == ["passkey", "recovery_code"]
    assert asked["passkey"]["allowCredentials"][0] == {
        "id": encoded(key.credential), "type": "public-key", "transports": ["hybrid", "internal"],
    }  # fmt: skip
    shown = {"ticket": asked["ticket"], "passkey": key.sign(asked["passkey"])}
    assert (await auth.post("/auth/login/factor", shown)).status_code == 200
    # By itself it has to.
    assert code(await login(auth, key.sign(await login_options(auth)))) == "invalid_credentials"


async def test_each_challenge_works_once_and_for_what_it_was_made(auth: Auth, token: str) -> None:
    key = SoftwareAuthenticator()
    await with_passkey(auth, token, key)
    used = key.sign(await login_options(auth))
    answers = await asyncio.gather(*(login(auth, used) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 4
    first, second = demanded(await auth.login()), demanded(await auth.login())
    assert code(await login(auth, key.sign(first["passkey"]))) == "invalid_credentials"
    as_factor = {"ticket": first["ticket"], "passkey": key.sign(await login_options(auth))}
    assert code(await auth.post("/auth/login/factor", as_factor)) == "invalid_credentials"
    shown = {"ticket": first["ticket"], "passkey": key.sign(first["passkey"])}
    assert (await auth.post("/auth/login/factor", shown)).status_code == 200
    assert code(await auth.post("/auth/login/factor", {**shown, "ticket": second["ticket"]})) == "invalid_credentials"


async def test_a_passkey_that_does_not_count_on_is_refused(auth: Auth, token: str) -> None:
    key = SoftwareAuthenticator(count=5)
    await with_passkey(auth, token, key)
    assert (await login(auth, key.sign(await login_options(auth)))).status_code == 200
    key.count = 5  # a copy of it, that was made before
    assert code(await login(auth, key.sign(await login_options(auth)))) == "invalid_credentials"
    key.count = 0
    assert code(await login(auth, key.sign(await login_options(auth)))) == "invalid_credentials"
    key.count = 7
    assert (await login(auth, key.sign(await login_options(auth)))).status_code == 200


async def test_what_is_signed_elsewhere_or_by_another_is_refused(auth: Auth, token: str) -> None:
    key = SoftwareAuthenticator()
    await with_passkey(auth, token, key)
    mallory = SoftwareAuthenticator()
    await with_passkey(auth, (await auth.register("mallory"))["access_token"], mallory)
    options = await login_options(auth)
    good = key.sign(options)
    wrong: list[dict[str, Any]] = []
    for name, value in (
        ("origin", "https://localhost.evil.example"), ("origin", "http://localhost:8000.evil.example"),
        ("origin", "http://127.0.0.1:8000"), ("origin", "null"), ("rp_id", "evil.example"), ("cross_origin", True),
    ):  # fmt: skip
        before = getattr(key, name)
        setattr(key, name, value)
        wrong.append(key.sign(options))
        setattr(key, name, before)
    forged = SoftwareAuthenticator(credential=key.credential, user_handle=key.user_handle)
    of_mallory = mallory.sign(options, userHandle=key.user_handle)
    wrong += [
        forged.sign(options),
        of_mallory,
        key.sign(options, userHandle=mallory.user_handle),
        key.sign(options, userHandle=""),
        key.sign(options, userHandle=None),
        key.sign({"challenge": encoded(b"x" * 120)}),
        key.sign({"challenge": ""}),
        key.sign(options, signature=encoded(b"x")),
        key.sign(options, authenticatorData=encoded(b"short")),
        key.sign(options, authenticatorData="%%%"),
        key.sign(options, clientDataJSON=encoded(b"{}")),
        key.sign(options, clientDataJSON=encoded(b"[" * 900)),
        key.sign(options, clientDataJSON="é"),
        {**good, "id": encoded(mallory.credential)},
        {**good, "rawId": "%"},
        {**good, "type": "password"},
        SoftwareAuthenticator().sign(options),
    ]
    answers = [await login(auth, each) for each in wrong]
    assert [code(answer) for answer in answers] == ["invalid_credentials"] * len(wrong)
    assert code(await login(auth, key.sign(options, signature="A" * 1401))) == "invalid_payload"
    # Nothing of that used the challenge up.
    assert (await login(auth, good)).status_code == 200


async def test_a_registration_is_of_the_user_and_session_that_asked_and_works_once(auth: Auth, token: str) -> None:
    mallory = (await auth.register("mallory"))["access_token"]
    options = (await auth.post("/auth/passkeys/options", {"proof": await proof(auth, token)}, token)).json()
    key = SoftwareAuthenticator()
    good = key.make(options["public_key"])

    async def register(credential: dict[str, Any], bearer: str = token) -> httpx.Response:
        return await auth.post("/auth/passkeys", {"passkey": credential}, bearer)

    assert code(await register(good, mallory)) == "invalid_credentials"
    assert code(await register(good, (await auth.login()).json()["access_token"])) == "invalid_credentials"
    for broken in (
        key.make(options["public_key"], attestationObject=encoded(b"\xff" * 50)),
        key.make(options["public_key"], attestationObject=encoded(b"\x9f" * 5000)),
        key.make(options["public_key"], clientDataJSON=encoded(b'{"type": "webauthn.create"}')),
        SoftwareAuthenticator(origin="https://evil.example").make(options["public_key"]),
        SoftwareAuthenticator(rp_id="evil.example").make(options["public_key"]),
        key.make({**options["public_key"], "challenge": (await login_options(auth))["challenge"]}),
    ):
        assert code(await register(broken)) == "invalid_credentials"
    assert (await register(good)).status_code == 200
    assert code(await register(SoftwareAuthenticator().make(options["public_key"]))) == "invalid_credentials"
    # Nor is a credential that somebody has made somebody else's.
    theirs = (await auth.post("/auth/passkeys/options", {"proof": await proof(auth, mallory)}, mallory)).json()
    assert code(await register(key.make(theirs["public_key"]), mallory)) == "already_exists"


async def test_passkeys_are_renamed_and_removed_by_their_owner_alone(
    auth: Auth, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SoftwareAuthenticator()
    made = (await with_passkey(auth, token, key))["passkey"]
    mallory = (await auth.register("mallory"))["access_token"]
    path = f"/auth/passkeys/{made['id']}"
    assert code(await send(auth, "PUT", path, {"name": "Mine"}, mallory)) == "not_found"
    theirs = {"proof": await proof(auth, mallory)}
    assert code(await send(auth, "DELETE", path, theirs, mallory)) == "not_found"
    assert code(await send(auth, "PUT", path, {"name": "a\nb"}, token)) == "invalid_payload"
    assert (await send(auth, "PUT", path, {"name": "Phone"}, token)).json()["name"] == "Phone"
    asked = demanded(await auth.post("/auth/factors/proof", {"password": PASSWORD}, token))
    shown = await proof(auth, token, passkey=key.sign(asked["passkey"]))
    monkeypatch.setattr(passkeys, "MAX_PASSKEYS", 1)
    assert code(await auth.post("/auth/passkeys/options", {"proof": shown}, token)) == "limit_exceeded"
    assert (await send(auth, "DELETE", path, {"proof": shown}, token)).status_code == 200
    assert (await auth.get("/auth/factors", token)).json() == {
        "totp_since": None, "recovery_codes_left": 0, "passkeys": [],
    }  # fmt: skip
    assert code(await login(auth, key.sign(await login_options(auth)))) == "invalid_credentials"
    assert (await auth.login()).status_code == 200


async def test_a_banned_user_and_one_whose_password_must_change_are_held_up_at_a_passkey_too(auth: Auth) -> None:
    granted, admin, key = await auth.register(), await auth.admin_token(), SoftwareAuthenticator()
    await with_passkey(auth, granted["access_token"], key)
    await auth.post(f"/admin/users/{granted['user_id']}/password-change", {}, admin)
    asked = demanded(await login(auth, key.sign(await login_options(auth))), "password_change_required")
    body = {"ticket": asked["ticket"], "new_password": "another good password"}
    assert (await auth.post("/auth/login/password", body)).status_code == 200
    await auth.post(f"/admin/users/{granted['user_id']}/ban", {"reason": "spam"}, admin)
    assert code(await login(auth, key.sign(await login_options(auth)))) == "banned"


async def test_with_an_app_and_a_passkey_either_is_taken(auth: Auth) -> None:
    user, key = await with_app(auth), SoftwareAuthenticator()
    made = await with_passkey(auth, user.token, key, recovery_code=user.recovery_codes[0])
    assert made["recovery_codes"] == []
    asked = demanded(await auth.login())
    assert asked["methods"] == ["totp", "passkey", "recovery_code"]
    shown = {"ticket": asked["ticket"], "passkey": key.sign(asked["passkey"])}
    assert (await auth.post("/auth/login/factor", shown)).status_code == 200


async def test_passkeys_are_for_the_configured_domain(database_url: str, nats_url: str) -> None:
    public = "https://chat.example.com"
    async with running_auth(database_url, nats_url, auth_public_url=public) as auth:
        token = (await auth.register())["access_token"]
        key = SoftwareAuthenticator(origin=public, rp_id="chat.example.com")
        await with_passkey(auth, token, key)
        assert (await login(auth, key.sign(await login_options(auth)))).status_code == 200
        key.origin = "http://localhost:8000"
        assert code(await login(auth, key.sign(await login_options(auth)))) == "invalid_credentials"
        assert (await auth.get("/auth/providers")).json()["passkeys_for"] == "chat.example.com"
