"""What auth answers gateways over NATS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec
import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus, connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.identity import Identity
from tests.support.auth.identities import SECRET, external, identify, refusal
from tests.support.auth.service import Auth, code, running_auth


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    roles = {"chat-admins": ("admin",)}
    async with running_auth(database_url, nats_url, auth_hs256_secret=SECRET, auth_roles=roles) as running:
        yield running


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A caller's own connection, as a gateway has one."""
    async with connect(ServiceSettings(nats_url=nats_url, instance="caller"), "caller") as connected:
        yield connected


@pytest.fixture
def statements() -> Any:
    """Collects the SQL that engines run."""
    collected: list[str] = []

    def collect(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        collected.append(statement)

    event.listen(Engine, "before_cursor_execute", collect)
    yield collected
    event.remove(Engine, "before_cursor_execute", collect)


async def test_local_user_is_identified_by_their_token(auth: Auth, bus: Bus) -> None:
    granted = await auth.register()
    identity = await identify(bus, granted["access_token"])
    assert (identity.user_id, identity.name, identity.roles) == (granted["user_id"], "alice", ())


async def test_missing_and_unusable_tokens_have_codes(auth: Auth, bus: Bus) -> None:
    expired = auth.components.signer.sign("u_1", "A", [], datetime.now(UTC) - timedelta(hours=2), 60)
    stranger = auth.components.signer.sign("u_1", "A", ["admin"], datetime.now(UTC), 60)
    for token, expected in (
        ("", Code.MISSING_TOKEN),
        ("nonsense", Code.INVALID_TOKEN),
        (expired, Code.EXPIRED_TOKEN),
        (stranger, Code.INVALID_TOKEN),
    ):
        assert (await refusal(bus, token)).code == expected


async def test_guests_are_strangers_each_with_an_id_of_their_own(auth: Auth, bus: Bus) -> None:
    one, two = [await identify(bus, "", guest=True) for _ in range(2)]
    assert one.user_id.startswith("guest:")
    assert one.user_id != two.user_id
    assert one.name.startswith("Guest-")
    assert one.roles == ("guest",)


async def test_bad_token_does_not_become_a_guest(auth: Auth, bus: Bus) -> None:
    with pytest.raises(Reject) as rejection:
        await identify(bus, "nonsense", guest=True)
    assert rejection.value.code == Code.INVALID_TOKEN


async def test_demoted_administrator_is_none_at_once(auth: Auth, bus: Bus) -> None:
    token = await auth.admin_token()
    assert (await identify(bus, token)).is_admin
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("UPDATE auth.users SET roles = '{}'"))
    assert not (await identify(bus, token)).is_admin
    assert code(await auth.get("/admin/users", token)) == "forbidden"


async def test_adopters_user_is_known_from_their_first_token_on(auth: Auth, bus: Bus) -> None:
    identity = await identify(bus, external(roles=["staff"]))
    assert (identity.user_id, identity.name, identity.roles) == ("bob@example.com", "Bob", ("staff",))
    user = (await auth.get("/admin/users/bob@example.com", await auth.admin_token())).json()
    assert (user["kind"], user["name"], user["username"], user["roles"]) == ("external", "Bob", None, ["staff"])


async def test_adopters_user_is_written_only_when_something_is_new(auth: Auth, bus: Bus, statements: list[str]) -> None:
    def writes() -> int:
        return sum(statement.startswith("INSERT INTO auth.users") for statement in statements)

    for expected, name in ((1, "Bob"), (1, "Bob"), (1, "Bob"), (2, "Robert"), (2, "Robert")):
        assert (await identify(bus, external(name=name))).name == name
        assert writes() == expected
    user = (await auth.get("/admin/users/bob@example.com", await auth.admin_token())).json()
    assert user["name"] == "Robert"


async def test_name_and_roles_are_those_of_now_and_not_those_of_the_token(auth: Auth, bus: Bus) -> None:
    token = (await auth.register())["access_token"]
    proved = await identify(bus, token)
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("UPDATE auth.users SET roles = '{helper}', name = 'Al' WHERE name = 'alice'"))
    now = msgspec.structs.replace(await identify(bus, token), valid_for=proved.valid_for)
    assert now == msgspec.structs.replace(proved, name="Al", roles=("helper",))


async def test_what_a_refused_token_says_of_its_user_is_not_kept(auth: Auth, bus: Bus) -> None:
    admin = await auth.admin_token()
    old = external(name="Old Bob", iat=int(time.time()) - 10)
    await identify(bus, external())
    await auth.post("/admin/users/bob@example.com/revoke", token=admin)
    assert (await refusal(bus, old)).code == Code.REVOKED_TOKEN
    assert (await auth.get("/admin/users/bob@example.com", admin)).json()["name"] == "Bob"


async def test_many_new_users_at_once_are_kept_each_as_their_token_says(auth: Auth, bus: Bus) -> None:
    names = {f"user-{number}": f'N\u00e4me \\ "{number}"' for number in range(50)}
    await asyncio.gather(*(identify(bus, external(sub, name=name, roles=[sub])) for sub, name in names.items()))
    found = (await auth.get("/admin/users", await auth.admin_token(), search="user-", limit=200)).json()["users"]
    assert {user["id"]: (user["name"], user["roles"]) for user in found} == {
        sub: (name, [sub]) for sub, name in names.items()
    }


async def test_first_tokens_of_one_user_in_parallel_make_one_user(auth: Auth, bus: Bus) -> None:
    identities = await asyncio.gather(*(identify(bus, external()) for _ in range(20)))
    assert {identity.user_id for identity in identities} == {"bob@example.com"}
    found = (await auth.get("/admin/users", await auth.admin_token(), search="bob@")).json()
    assert len(found["users"]) == 1


async def test_adopters_administrator_is_whoever_the_mapping_says_and_nobody_else(auth: Auth) -> None:
    assert (await auth.get("/admin/users", external(roles=["chat-admins"]))).status_code == 200
    assert code(await auth.get("/admin/users", external("carol", roles=["admin"]))) == "forbidden"


async def test_adopters_user_is_banned_and_revoked_like_any_other(auth: Auth, bus: Bus) -> None:
    admin = await auth.admin_token()
    old = external(iat=int(time.time()) - 10)
    await identify(bus, old)
    await auth.post("/admin/users/bob@example.com/revoke", token=admin)
    assert (await refusal(bus, old)).code == Code.REVOKED_TOKEN
    later = external(iat=time.time())
    await identify(bus, later)
    await auth.post("/admin/users/bob@example.com/ban", {"reason": "spam"}, admin)
    assert (await refusal(bus, later)).code == Code.BANNED


async def test_token_without_issue_time_does_not_outlive_a_revocation(auth: Auth, bus: Bus) -> None:
    now = int(time.time())
    token = jwt.encode({"sub": "carol", "name": "Carol", "exp": now + 60}, SECRET, "HS256")
    await identify(bus, token)
    await auth.post("/admin/users/carol/revoke", token=await auth.admin_token())
    assert (await refusal(bus, token)).code == Code.REVOKED_TOKEN


async def test_storm_of_connections_costs_few_queries(auth: Auth, bus: Bus, statements: list[str]) -> None:
    granted = await auth.register()
    tokens = [granted["access_token"], external(), await auth.admin_token()]
    await asyncio.gather(*(identify(bus, token) for token in tokens))
    statements.clear()
    identities = await asyncio.gather(*(identify(bus, tokens[number % 3]) for number in range(300)))
    assert [identity.name for identity in identities[:3]] == ["alice", "Bob", "admin"]
    assert 0 < len([statement for statement in statements if "auth.users" in statement]) < 100


async def test_malformed_request_is_answered_with_a_code(auth: Auth, bus: Bus) -> None:
    with pytest.raises(Reject) as rejection:
        await bus.call(subjects.AUTHENTICATE, Identity("not", "a request", ("of", "this kind")))
    assert rejection.value.code == Code.INVALID_PAYLOAD
