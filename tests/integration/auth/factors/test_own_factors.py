"""What users do with their own factors, and administrators with those of others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from parley.auth.tokens.signing import SigningKey
from tests.support.auth.authenticator import SoftwareAuthenticator
from tests.support.auth.identities import SECRET, external
from tests.support.auth.second_factors import code_of, demanded, proof, send, ticket, with_app, with_passkey
from tests.support.auth.service import PASSWORD, Auth, code, running_auth

TABLES = ("totp", "recovery_codes", "passkeys", "code_guesses", "emails", "mail_tokens")


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url, auth_hs256_secret=SECRET) as running:
        yield running


async def rows(auth: Auth, query: str) -> list[Any]:
    async with auth.components.database.autocommit() as connection:
        return list((await connection.execute(text(query))).all())


async def test_an_app_counts_once_a_code_of_it_was_shown_and_its_secret_is_shown_once(auth: Auth) -> None:
    token = (await auth.register())["access_token"]
    given = await proof(auth, token)
    first = await auth.post("/auth/factors/totp", {"proof": given}, token)
    assert first.headers["cache-control"] == "no-store"
    assert first.json()["uri"] == f"otpauth://totp/Parley:alice?secret={first.json()['secret']}&issuer=Parley"
    assert (await auth.login()).status_code == 200
    # Whoever begins again has another secret; that of before is void.
    again = (await auth.post("/auth/factors/totp", {"proof": given}, token)).json()
    old = {"code": code_of(auth, first.json()["secret"])}
    assert code(await auth.post("/auth/factors/totp/confirm", old, token)) == "invalid_credentials"
    new = {"code": code_of(auth, again["secret"])}
    confirmed = (await auth.post("/auth/factors/totp/confirm", new, token)).json()
    assert len(set(confirmed["recovery_codes"])) == 10
    assert code(await auth.post("/auth/factors/totp/confirm", new, token)) == "not_found"
    told = await auth.get("/auth/factors", token)
    assert told.json()["totp_since"] is not None
    assert again["secret"] not in told.text
    demanded(await auth.login())


async def test_secrets_and_codes_are_not_in_the_database_as_they_are(auth: Auth) -> None:
    user = await with_app(auth)
    kept = str(await rows(auth, "SELECT encode(sealed, 'escape') FROM auth.totp"))
    kept += str(await rows(auth, "SELECT encode(hash, 'escape') FROM auth.recovery_codes"))
    assert user.secret not in kept
    assert user.recovery_codes[0].replace("-", "") not in kept
    mallory = await with_app(auth, "mallory")
    # A row of one's own in the place of another's opens nothing.
    copied = f"UPDATE auth.totp SET sealed = (SELECT sealed FROM auth.totp WHERE user_id = '{mallory.user_id}')"
    async with auth.components.database.transaction() as connection:
        await connection.execute(text(f"{copied} WHERE user_id = '{user.user_id}'"))
    body = {"ticket": await ticket(auth), "code": code_of(auth, mallory.secret)}
    assert code(await auth.post("/auth/login/factor", body)) == "unavailable"


async def test_changes_ask_for_the_password_and_the_factor_that_is_on(auth: Auth) -> None:
    user = await with_app(auth)
    missing = await auth.post("/auth/factors/proof", {"password": PASSWORD}, user.token)
    assert demanded(missing)["methods"] == ["totp", "recovery_code"]
    wrong = {"password": "a wrong guess", "code": code_of(auth, user.secret)}
    assert code(await auth.post("/auth/factors/proof", wrong, user.token)) == "invalid_credentials"
    for given in ("x", await ticket(auth)):
        refused = await send(auth, "DELETE", "/auth/factors/totp", {"proof": given}, user.token)
        assert code(refused) == "invalid_credentials"
    shown = await proof(auth, user.token, code=code_of(auth, user.secret))
    assert code(await auth.post("/auth/factors/totp", {"proof": shown}, user.token)) == "already_exists"
    assert (await send(auth, "DELETE", "/auth/factors/totp", {"proof": shown}, user.token)).status_code == 200
    assert (await auth.login()).status_code == 200
    assert await rows(auth, "SELECT * FROM auth.recovery_codes") == []


async def test_a_proof_is_of_one_user_and_session_and_of_before_a_factor_it_is_worth_nothing(auth: Auth) -> None:
    token = (await auth.register())["access_token"]
    given = await proof(auth, token)
    mallory = (await auth.register("mallory"))["access_token"]
    assert code(await auth.post("/auth/factors/totp", {"proof": given}, mallory)) == "invalid_credentials"
    elsewhere = (await auth.login()).json()["access_token"]
    assert code(await auth.post("/auth/factors/totp", {"proof": given}, elsewhere)) == "invalid_credentials"
    made = (await auth.post("/auth/factors/totp", {"proof": given}, token)).json()
    await auth.post("/auth/factors/totp/confirm", {"code": code_of(auth, made["secret"])}, token)
    refused = await send(auth, "DELETE", "/auth/factors/totp", {"proof": given}, token)
    demanded(refused)


async def test_new_recovery_codes_void_those_of_before(auth: Auth) -> None:
    user = await with_app(auth)
    shown = await proof(auth, user.token, recovery_code=user.recovery_codes[0])
    made = (await auth.post("/auth/factors/recovery-codes", {"proof": shown}, user.token)).json()["recovery_codes"]
    assert not set(made) & set(user.recovery_codes)
    body = {"ticket": await ticket(auth), "recovery_code": user.recovery_codes[1]}
    assert code(await auth.post("/auth/login/factor", body)) == "invalid_credentials"
    assert (await auth.post("/auth/login/factor", {**body, "recovery_code": made[1]})).status_code == 200


async def test_who_logs_in_elsewhere_has_no_factors_here(auth: Auth) -> None:
    token = external()
    assert (await auth.get("/auth/factors", token)).json()["passkeys"] == []
    assert code(await auth.post("/auth/factors/proof", {"password": PASSWORD}, token)) == "forbidden"
    assert code(await auth.post("/auth/factors/totp/confirm", {"code": "123456"}, token)) == "forbidden"


async def test_an_owner_switches_off_the_factors_of_who_has_lost_them(auth: Auth) -> None:
    user, admin = await with_app(auth), await auth.admin_token()
    shown = {"code": code_of(auth, user.secret)}
    await with_passkey(auth, user.token, SoftwareAuthenticator(), **shown)
    profile = (await auth.get(f"/admin/users/{user.user_id}", admin)).json()
    assert profile["factors"]["totp_since"] is not None
    assert len(profile["factors"]["passkeys"]) == 1
    path = f"/admin/users/{user.user_id}/factors"
    answer = (await send(auth, "DELETE", path, {}, admin)).json()
    assert answer["removed"] == ["totp", "passkey", "recovery_code"]
    assert (await auth.get("/auth/me", user.token)).status_code == 401
    assert (await auth.login()).status_code == 200
    entries = (await auth.get("/admin/audit", admin, action="user.factors")).json()["entries"]
    assert [(entry["target"], entry["before"]) for entry in entries] == [
        (user.user_id, {"methods": ["totp", "passkey", "recovery_code"]})
    ]
    assert (await send(auth, "DELETE", path, {}, admin)).json()["removed"] == []
    assert code(await send(auth, "DELETE", "/admin/users/u_nobody/factors", {}, admin)) == "not_found"


async def test_what_is_kept_is_in_the_export_without_its_secrets_and_goes_with_the_account(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley.auth.accounts.data_export.PAUSES", (0.01,))  # there is no chat to wait for
    user = await with_app(auth)
    key = SoftwareAuthenticator()
    await with_passkey(auth, user.token, key, code=code_of(auth, user.secret))
    async with auth.components.database.transaction() as connection:
        # As somebody leaves it who confirms, guesses and forgets.
        for statement in (
            "INSERT INTO auth.emails (user_id, address, address_key) VALUES (:user, 'A@example.com', 'a@example.com')",
            "INSERT INTO auth.code_guesses (user_id) VALUES (:user)",
            "INSERT INTO auth.mail_tokens (hash, user_id, purpose, address, password, expires_at) "
            "VALUES ('h', :user, 'reset', 'A@example.com', 'p', clock_timestamp())",
        ):
            await connection.execute(text(statement), {"user": user.user_id})
    lines = {}
    for line in (await auth.get("/auth/me/export", user.token)).text.splitlines():
        lines[json.loads(line)["type"]] = json.loads(line)
    assert lines["email"]["email"]["address"] == "A@example.com"
    assert lines["factors"]["factors"]["passkeys"][0]["name"] == "Laptop"
    assert user.secret not in json.dumps(lines)
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM auth.{name}" for name in TABLES)
    assert all(count for _, count in await rows(auth, counts))
    assert (await send(auth, "DELETE", "/auth/me", {"password": PASSWORD}, user.token)).status_code == 200
    assert not any(count for _, count in await rows(auth, counts))


async def test_a_key_that_is_configured_later_takes_no_factor_away(database_url: str, nats_url: str) -> None:
    async with running_auth(database_url, nats_url) as auth:
        user = await with_app(auth)
    new = SigningKey.of(Ed25519PrivateKey.generate()).pem()
    async with running_auth(database_url, nats_url, auth_signing_key=new) as auth:
        body = {"ticket": await ticket(auth), "code": code_of(auth, user.secret)}
        assert (await auth.post("/auth/login/factor", body)).status_code == 200
        # From then on the database's own key is not needed.
        async with auth.components.database.transaction() as connection:
            await connection.execute(text("DELETE FROM auth.signing_keys"))
    async with running_auth(database_url, nats_url, auth_signing_key=new) as auth:
        body = {"ticket": await ticket(auth), "code": code_of(auth, user.secret, 1)}
        assert (await auth.post("/auth/login/factor", body)).status_code == 200


async def test_a_rotated_key_takes_no_factor_away(database_url: str, nats_url: str) -> None:
    old, new = (SigningKey.of(Ed25519PrivateKey.generate()).pem() for _ in range(2))
    async with running_auth(database_url, nats_url, auth_signing_key=old) as auth:
        user = await with_app(auth)
    # One start with both, as docs/operations.md says, and the old one may go.
    async with running_auth(database_url, nats_url, auth_signing_key=f"{new}\n{old}"):
        pass
    async with running_auth(database_url, nats_url, auth_signing_key=new) as auth:
        body = {"ticket": await ticket(auth), "code": code_of(auth, user.secret)}
        assert (await auth.post("/auth/login/factor", body)).status_code == 200
