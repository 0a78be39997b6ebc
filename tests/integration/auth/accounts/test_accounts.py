"""Accounts and tokens over HTTP, on real Postgres and NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from sqlalchemy import text

from parley.auth.accounts.sessions.sessions import Device
from parley.auth.components import issue_admin_token
from parley.auth.database import Database, create_engine
from parley.auth.user_rows import lock_user, revoke_all
from parley.common.errors import Code, Reject
from tests.support.auth.service import ADMIN_PASSWORD, PASSWORD, Auth, code, running_auth


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


async def test_registered_user_can_log_in_and_see_who_they_are(auth: Auth) -> None:
    registered = await auth.register("Alice.B")
    assert set(registered) == {"user_id", "access_token", "refresh_token", "expires_in"}
    assert registered["user_id"].startswith("u_")
    assert registered["expires_in"] == 3600
    logged_in = (await auth.login("alice.b")).json()
    assert logged_in["user_id"] == registered["user_id"]
    me = await auth.get("/auth/me", logged_in["access_token"])
    assert me.json() == {
        "user_id": registered["user_id"], "name": "Alice.B", "roles": [], "username": "Alice.B", "avatar_url": None,
        "email": None,
    }  # fmt: skip


async def test_username_belongs_to_one_user_whatever_its_case(auth: Auth) -> None:
    body = [{"username": name, "password": PASSWORD} for name in ("alice", "ALICE", "Alice", "aLice")]
    responses = await asyncio.gather(*(auth.post("/auth/register", each) for each in body))
    assert sorted(response.status_code for response in responses) == [200, 409, 409, 409]
    assert {code(response) for response in responses if response.status_code == 409} == {"already_exists"}


async def test_unknown_user_and_wrong_password_are_told_apart_by_nothing(auth: Auth) -> None:
    await auth.register()
    wrong, unknown = await auth.login(password="wrong password"), await auth.login("nobody")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.content == unknown.content
    assert code(wrong) == "invalid_credentials"


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"username": "alice"},
        {"username": "alice", "password": 5},
        {"username": "al\x00ce", "password": PASSWORD},
        {"username": "alice", "password": "x" * 257},
        {"username": "' OR 1=1 --", "password": PASSWORD},
    ],
    ids=str,
)
async def test_malformed_bodies_are_refused_with_a_code(auth: Auth, body: Any) -> None:
    for path in ("/auth/register", "/auth/login"):
        response = await auth.client.post(path, json=body)
        assert (response.status_code, code(response)) == (422, "invalid_payload")


async def test_bodies_that_are_no_json_or_too_large_are_refused(auth: Auth) -> None:
    assert code(await auth.client.post("/auth/login", content=b"{")) == "invalid_payload"
    headers = {"content-type": "application/json"}
    surrogate = b'{"username": "alice", "password": "\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800"}'
    assert code(await auth.client.post("/auth/login", content=surrogate, headers=headers)) == "invalid_payload"
    assert code(await auth.client.post("/auth/login", content=b"x" * 300_000)) == "payload_too_large"


async def test_registration_can_be_switched_off(database_url: str, nats_url: str) -> None:
    async with running_auth(database_url, nats_url, auth_registration=False) as auth:
        response = await auth.post("/auth/register", {"username": "alice", "password": PASSWORD})
        assert (response.status_code, code(response)) == (403, "forbidden")


async def test_requests_without_a_usable_token_are_401(auth: Auth) -> None:
    for token, expected in (("", "missing_token"), ("nonsense", "invalid_token")):
        response = await auth.get("/auth/me", token)
        assert (response.status_code, code(response)) == (401, expected)
        assert response.headers["www-authenticate"] == "Bearer"


async def test_refresh_token_works_once_and_gives_its_successor(auth: Auth) -> None:
    first = await auth.register()
    second = await auth.post("/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert set(second.json()) == set(first)
    assert second.json()["refresh_token"] != first["refresh_token"]
    third = await auth.post("/auth/refresh", {"refresh_token": second.json()["refresh_token"]})
    assert (await auth.get("/auth/me", third.json()["access_token"])).status_code == 200


async def test_expired_refresh_token_is_refused(auth: Auth) -> None:
    granted = await auth.register()
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("UPDATE auth.refresh_tokens SET expires_at = clock_timestamp()"))
    response = await auth.post("/auth/refresh", {"refresh_token": granted["refresh_token"]})
    assert code(response) == "expired_token"


async def test_passwords_and_refresh_tokens_are_stored_as_hashes(auth: Auth) -> None:
    granted = await auth.register()
    async with auth.components.database.autocommit() as connection:
        dump = repr((await connection.execute(text("SELECT u, r FROM auth.users u, auth.refresh_tokens r"))).all())
    assert "$argon2id$" in dump
    assert PASSWORD not in dump
    assert granted["refresh_token"] not in dump


async def test_published_keys_verify_access_tokens(auth: Auth) -> None:
    granted = await auth.register()
    keys = (await auth.get("/auth/.well-known/jwks.json")).json()
    header = jwt.get_unverified_header(granted["access_token"])
    key = jwt.PyJWKSet.from_dict(keys)[header["kid"]]
    claims = jwt.decode(granted["access_token"], key, algorithms=["EdDSA"], issuer="parley", leeway=5)
    assert set(claims) == {"iss", "sub", "name", "roles", "iat", "exp", "jti", "sid"}


async def test_replicas_share_the_signing_key_and_a_restart_keeps_it(database_url: str, nats_url: str) -> None:
    async with (
        running_auth(database_url, nats_url, instance="a") as one,
        running_auth(database_url, nats_url, instance="b") as two,
    ):
        granted = await one.register()
        assert (await two.get("/auth/me", granted["access_token"])).status_code == 200
    async with running_auth(database_url, nats_url) as restarted:
        assert (await restarted.get("/auth/me", granted["access_token"])).status_code == 200


async def test_replicas_that_start_together_make_one_key_and_one_administrator(
    database_url: str, nats_url: str
) -> None:
    async def start_and_stop(instance: str) -> None:
        async with running_auth(database_url, nats_url, instance=instance):
            pass

    await asyncio.gather(*(start_and_stop(f"auth{number}") for number in range(4)))
    async with running_auth(database_url, nats_url) as auth, auth.components.database.autocommit() as connection:
        counts = "SELECT (SELECT count(*) FROM auth.signing_keys), (SELECT count(*) FROM auth.users)"
        assert tuple((await connection.execute(text(counts))).one()) == (1, 1)


async def test_every_token_issued_before_a_revocation_is_refused_and_none_after(auth: Auth) -> None:
    """Logins and revocations race; whatever the order turns out to be, it is the same for every token."""
    granted = await auth.register()
    components, user_id = auth.components, granted["user_id"]
    order: list[tuple[str, dict[str, Any]]] = []

    async def grant(database: Database) -> None:
        async with database.transaction() as connection:
            user = await lock_user(connection, user_id)
            assert user is not None
            tokens = (await components.sessions.begin(connection, user, Device(), "password")).model_dump()
            # The row is locked until the commit, so the order in which these are noted is the order of effect.
            order.append(("grant", tokens))

    async def revoke(database: Database) -> None:
        async with database.transaction() as connection:
            await lock_user(connection, user_id)
            await revoke_all(connection, user_id)
            order.append(("revoke", {}))

    work = [revoke if number % 4 == 0 else grant for number in range(24)]
    await asyncio.gather(*(step(components.database) for step in work))
    await grant(components.database)
    last_revocation = max(index for index, (kind, _) in enumerate(order) if kind == "revoke")
    for index, (kind, tokens) in enumerate(order):
        if kind == "grant":
            expected = 401 if index < last_revocation else 200
            assert (await auth.get("/auth/me", tokens["access_token"])).status_code == expected
            refreshed = await auth.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
            assert refreshed.status_code == expected


async def test_login_after_a_revocation_works_even_if_the_clock_was_set_back(auth: Auth) -> None:
    granted = await auth.register()
    async with auth.components.database.transaction() as connection:
        ahead = "UPDATE auth.users SET revoked_before = clock_timestamp() + interval '1 hour' WHERE id = :id"
        await connection.execute(text(ahead), {"id": granted["user_id"]})
    assert code(await auth.get("/auth/me", granted["access_token"])) == "revoked_token"
    again = (await auth.login()).json()
    assert (await auth.get("/auth/me", again["access_token"])).status_code == 200


async def test_token_of_a_deleted_user_is_invalid(auth: Auth) -> None:
    granted = await auth.register()
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("DELETE FROM auth.users WHERE username = 'alice'"))
    assert code(await auth.get("/auth/me", granted["access_token"])) == "invalid_token"


async def test_administrators_password_follows_the_setting(database_url: str, nats_url: str) -> None:
    async with running_auth(database_url, nats_url) as auth:
        before = await auth.admin_token()
        assert (await auth.get("/admin/users", before)).status_code == 200
    async with running_auth(database_url, nats_url, auth_admin_password="another password") as auth:
        assert code(await auth.get("/admin/users", before)) == "revoked_token"
        assert (await auth.login("admin", ADMIN_PASSWORD)).status_code == 401
        after = (await auth.login("admin", "another password")).json()
        assert (await auth.get("/admin/users", after["access_token"])).status_code == 200


async def test_whoever_registered_the_administrators_name_before_has_no_way_in(
    database_url: str, nats_url: str
) -> None:
    kept = {
        "emails": "(user_id, address, address_key) VALUES (:user, 'eve@example.com', 'eve@example.com')",
        "passkeys": "(id, user_id, credential, public_key, sign_count, transports, name, backed_up) "
        "VALUES ('pass_1', :user, 'c', 'k', 0, '{}', 'mine', false)",
        "identities": "(issuer, subject, user_id, name, address, roles) VALUES ('i', 's', :user, 'Eve', '', '{}')",
        "recovery_codes": "(hash, user_id) VALUES ('h', :user)",
    }

    async def left(auth: Auth) -> list[int]:
        async with auth.components.database.autocommit() as connection:
            counts = [text(f"SELECT count(*) FROM auth.{table}") for table in kept]
            return [await connection.scalar(count) or 0 for count in counts]

    async with running_auth(database_url, nats_url) as auth:
        eve = await auth.register("operator")
        async with auth.components.database.transaction() as connection:
            for table, values in kept.items():
                await connection.execute(text(f"INSERT INTO auth.{table} {values}"), {"user": eve["user_id"]})
    async with running_auth(database_url, nats_url, auth_admin_username="operator") as auth:
        assert await left(auth) == [0, 0, 0, 0]
        assert code(await auth.get("/auth/me", eve["access_token"])) == "revoked_token"
        assert code(await auth.login("operator")) == "invalid_credentials"
        admin = (await auth.login("operator", ADMIN_PASSWORD)).json()
        assert (admin["user_id"], (await auth.get("/admin/users", admin["access_token"])).status_code) == (
            eve["user_id"], 200,
        )  # fmt: skip
        async with auth.components.database.transaction() as connection:
            await connection.execute(text(f"INSERT INTO auth.emails {kept['emails']}"), {"user": eve["user_id"]})
    # What an administrator has set up for themself stays when their password is changed.
    options = {"auth_admin_username": "operator", "auth_admin_password": "another good one"}
    async with running_auth(database_url, nats_url, **options) as auth:
        assert await left(auth) == [1, 0, 0, 0]


async def test_first_administrators_password_is_made_and_shown_once(
    database_url: str, nats_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_auth(database_url, nats_url, auth_admin_password="", auth_admin_username="root") as auth:
        shown = capsys.readouterr().out
        password = shown.split("with password '")[1].split("'")[0]
        assert (await auth.login("root", password)).status_code == 200
    async with running_auth(database_url, nats_url, auth_admin_password="", auth_admin_username="root"):
        assert "password" not in capsys.readouterr().out


async def test_admin_token_for_the_process_itself_opens_the_admin_api_until_it_expires(auth: Auth) -> None:
    token = await issue_admin_token(auth.app, 60)
    assert (await auth.get("/admin/users", token)).status_code == 200
    assert code(await auth.get("/admin/users", await issue_admin_token(auth.app, -1))) == "expired_token"


async def test_health_readiness_and_metrics(auth: Auth) -> None:
    assert (await auth.get("/healthz")).status_code == 200
    assert (await auth.get("/readyz")).json() == {"ready": True, "checks": {"database": "ok", "nats": "ok"}}
    await auth.login("nobody")
    assert 'parley_auth_logins_total{outcome="invalid_credentials"}' in (await auth.get("/metrics")).text


async def test_cut_database_connections_are_replaced_unnoticed(auth: Auth, postgres_url: str) -> None:
    granted = await auth.register()
    async with auth.components.database.autocommit() as connection:
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
    engine = create_engine(postgres_url)
    async with Database(engine).autocommit() as connection:
        cut = text("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = :name")
        assert (await connection.execute(cut, {"name": name})).scalar_one() > 0
    await engine.dispose()
    for _ in range(3):
        assert (await auth.get("/auth/me", granted["access_token"])).status_code == 200
        assert (await auth.login()).status_code == 200


async def test_text_that_the_database_does_not_take_is_its_senders_error(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    for asked in (Database(engine).autocommit, Database(engine).transaction):
        with pytest.raises(Reject) as rejection:
            async with asked() as connection:
                await connection.execute(text("SELECT CAST(:name AS text)"), {"name": "a\x00"})
        assert rejection.value.code is Code.INVALID_PAYLOAD
    await engine.dispose()


async def test_missing_database_is_a_retryable_answer() -> None:
    database = Database(create_engine("postgresql://nobody@/nothing?host=/nonexistent"))
    assert await database.check() == "The database cannot be reached now; try again."
    with pytest.raises(Reject) as rejection:
        async with database.transaction():
            pass
    assert (rejection.value.code, rejection.value.retryable) == (Code.UNAVAILABLE, True)
