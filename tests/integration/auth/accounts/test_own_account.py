"""What people do with their own accounts: passwords, names, deletion, export."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import text, update

from parley.auth.accounts.data_export import AT_ONCE
from parley.auth.moderation import kick_records
from parley.auth.tables import users
from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.admin import EraseUser, ErasureInfo, GetErasure, ReadUserEvents, UserEvents
from parley.common.wire.identity import Identity
from tests.support.auth.identities import SECRET, external
from tests.support.auth.played_gateway import played_gateway, settled
from tests.support.auth.service import ADMIN_PASSWORD, PASSWORD, Auth, bearer, code, running_auth
from tests.support.auth.sessions import kicks_heard, session_of
from tests.support.waiting import until

NEW = "another good password"


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url, auth_hs256_secret=SECRET) as running:
        yield running


async def send(auth: Auth, method: str, path: str, body: Any, token: str) -> httpx.Response:
    return await auth.client.request(method, path, json=body, headers=bearer(token))


async def change(auth: Auth, token: str, current: str, new: str, **more: Any) -> httpx.Response:
    body = {"current_password": current, "new_password": new, **more}
    return await send(auth, "PUT", "/auth/password", body, token)


class Chat:
    """What chat answers auth; `away` until it is there."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.state = "requested"
        self.refusing = False
        self.pages: dict[str, UserEvents] = {"": UserEvents([])}

    async def erase(self, request: EraseUser) -> ErasureInfo:
        self.asked.append(request.user)
        if self.refusing:
            raise Reject(Code.UNAVAILABLE, "Nothing is erased without a ledger.")
        return self._info(request.user)

    async def how_far(self, request: GetErasure) -> ErasureInfo:
        return self._info(request.user)

    async def written(self, request: ReadUserEvents) -> UserEvents:
        return self.pages[request.cursor]

    def _info(self, user: str) -> ErasureInfo:
        return ErasureInfo("e1", user, self.state, datetime(2026, 1, 2, tzinfo=UTC), None, 7)


@asynccontextmanager
async def serving(bus: Bus, chat: Chat) -> AsyncGenerator[None]:
    subscriptions = [
        await bus.respond(subjects.ERASE_USER, EraseUser, chat.erase, "chat"),
        await bus.respond(subjects.GET_ERASURE, GetErasure, chat.how_far, "chat"),
        await bus.respond(subjects.READ_USER_EVENTS, ReadUserEvents, chat.written, "chat"),
    ]
    await bus.flush()
    yield
    for subscription in subscriptions:
        await subscription.unsubscribe()
    await bus.flush()


# -- passwords -------------------------------------------------------------------------------------------------------


async def test_a_changed_password_ends_the_other_sessions_and_lets_in_alone(auth: Auth, bus: Bus) -> None:
    mine = await auth.register()
    other = (await auth.login()).json()
    async with kicks_heard(bus) as heard:
        assert (await change(auth, mine["access_token"], PASSWORD, NEW)).json() == {"ended": 1}
        await until(lambda: heard)
    assert heard[0].logins == (session_of(other),)
    for granted, status in ((mine, 200), (other, 401)):
        assert (await auth.get("/auth/me", granted["access_token"])).status_code == status
        body = {"refresh_token": granted["refresh_token"]}
        assert (await auth.post("/auth/refresh", body)).status_code == status
    assert code(await auth.login()) == "invalid_credentials"
    assert (await auth.login(password=NEW)).status_code == 200


async def test_other_sessions_stay_where_that_is_wanted(auth: Auth) -> None:
    mine = await auth.register()
    other = (await auth.login()).json()
    answer = await change(auth, mine["access_token"], PASSWORD, NEW, end_other_sessions=False)
    assert answer.json() == {"ended": 0}
    assert (await auth.get("/auth/me", other["access_token"])).status_code == 200


async def test_who_does_not_know_the_password_does_not_change_it_and_is_slowed_as_at_a_login(
    database_url: str, nats_url: str
) -> None:
    async with running_auth(database_url, nats_url, auth_login_rate_address="3/minute") as auth:
        token = (await auth.register())["access_token"]
        auth.client.cookies.clear()
        codes = [code(await change(auth, token, "a wrong guess", NEW)) for _ in range(4)]
        assert codes == ["invalid_credentials"] * 3 + ["rate_limited"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"current_password": PASSWORD},
        {"current_password": PASSWORD, "new_password": "short"},
        {"current_password": PASSWORD, "new_password": "alicealice"},
        {"current_password": PASSWORD, "new_password": "x" * 257},
        {"current_password": PASSWORD, "new_password": 12345678},
        {"current_password": PASSWORD, "new_password": NEW, "end_other_sessions": "yes"},
    ],
    ids=str,
)
async def test_weak_passwords_and_malformed_changes_are_refused(auth: Auth, body: Any) -> None:
    token = (await auth.register("alicealice"))["access_token"]
    response = await send(auth, "PUT", "/auth/password", body, token)
    assert (response.status_code, code(response)) == (422, "invalid_payload")


async def test_a_password_may_not_be_the_username_at_registration_either(auth: Auth) -> None:
    response = await auth.post("/auth/register", {"username": "Alice.Alice", "password": "alice.alice"})
    assert (response.status_code, code(response)) == (422, "invalid_payload")


async def test_hashes_of_before_are_renewed_at_the_next_login(auth: Auth) -> None:
    composed = unicodedata.normalize("NFC", "café crème")
    decomposed = unicodedata.normalize("NFD", composed)
    body = {"username": "alice", "password": composed}
    await auth.post("/auth/register", body)
    old = auth.components.accounts._passwords._hasher.hash(decomposed)
    async with auth.components.database.transaction() as connection:
        await connection.execute(update(users).where(users.c.username == "alice").values(password_hash=old))
    assert (await auth.login(password=composed)).status_code == 401
    assert (await auth.login(password=decomposed)).status_code == 200
    assert (await auth.login(password=composed)).status_code == 200


# -- names -----------------------------------------------------------------------------------------------------------


async def test_names_that_look_like_anothers_are_refused(auth: Auth) -> None:
    await auth.register("paypal")
    for username in ("paypaI", "PAYPA1", "PayPal"):
        response = await auth.post("/auth/register", {"username": username, "password": PASSWORD})
        assert (response.status_code, code(response)) == (409, "already_exists")
    made = await asyncio.gather(
        *(auth.post("/auth/register", {"username": name, "password": PASSWORD}) for name in ("user0", "userO"))
    )
    assert sorted(response.status_code for response in made) == [200, 409]


async def test_a_name_and_an_avatar_are_changed_and_taken_away(auth: Auth) -> None:
    token = (await auth.register())["access_token"]
    avatar = "https://example.com/alice.png"
    shown = (await send(auth, "PUT", "/auth/me", {"name": "Alice Liddell", "avatar_url": avatar}, token)).json()
    assert (shown["name"], shown["username"], shown["avatar_url"]) == ("Alice Liddell", "alice", avatar)
    assert (await auth.get("/auth/me", token)).json() == shown
    assert (await send(auth, "PUT", "/auth/me", {"avatar_url": None}, token)).json()["avatar_url"] is None
    assert (await send(auth, "PUT", "/auth/me", {}, token)).json()["name"] == "Alice Liddell"


async def test_open_connections_are_told_of_a_new_name_at_once(auth: Auth, nats_url: str) -> None:
    granted = await auth.register()
    async with played_gateway(nats_url, "g1", [granted["user_id"]]) as gateway:
        await settled(auth, "g1")
        await send(auth, "PUT", "/auth/me", {"avatar_url": None}, granted["access_token"])
        assert gateway.told == []
        await send(auth, "PUT", "/auth/me", {"name": "Alice Liddell"}, granted["access_token"])
        assert [told.selection.users for told in gateway.told] == [(granted["user_id"],)]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"name": ""}, "invalid_payload"),
        ({"name": None}, "invalid_payload"),
        ({"name": "x" * 101}, "invalid_payload"),
        ({"name": "a\u202eb"}, "invalid_payload"),
        ({"name": "аlice"}, "invalid_payload"),  # noqa: RUF001
        ({"avatar_url": "http://example.com/a.png"}, "invalid_payload"),
        ({"name": "ADMIN"}, "already_exists"),
        ({"name": "ａdmin"}, "already_exists"),  # noqa: RUF001
    ],
    ids=ascii,
)
async def test_names_that_mislead_are_refused(auth: Auth, body: Any, refused: str) -> None:
    token = (await auth.register())["access_token"]
    assert code(await send(auth, "PUT", "/auth/me", body, token)) == refused


async def test_who_logs_in_elsewhere_has_nothing_to_change_here(auth: Auth) -> None:
    token = external()
    assert (await auth.get("/auth/me", token)).json()["username"] is None
    for method, path, body in (
        ("PUT", "/auth/me", {"name": "Bobby"}),
        ("PUT", "/auth/password", {"current_password": PASSWORD, "new_password": NEW}),
        ("DELETE", "/auth/me", {"password": PASSWORD}),
    ):
        assert code(await send(auth, method, path, body, token)) == "forbidden"
        assert code(await send(auth, method, path, body, "")) == "missing_token"


async def test_changes_to_ones_account_are_limited(auth: Auth) -> None:
    token = (await auth.register())["access_token"]
    answers = [await send(auth, "PUT", "/auth/me", {}, token) for _ in range(61)]
    assert [answer.status_code for answer in answers] == [200] * 60 + [429]
    assert "retry-after" in answers[-1].headers


# -- deletion --------------------------------------------------------------------------------------------------------


async def state_of(auth: Auth, user_id: str) -> Any:
    asked = text("SELECT erasure, completed_at IS NOT NULL AS done FROM auth.deletions WHERE user_id = :id")
    async with auth.components.database.autocommit() as connection:
        return (await connection.execute(asked, {"id": user_id})).one()


async def test_a_deleted_account_is_gone_at_once_and_chat_is_asked_until_it_has_erased(auth: Auth, bus: Bus) -> None:
    granted = await auth.register()
    token, user_id, chat = granted["access_token"], granted["user_id"], Chat()
    assert code(await send(auth, "DELETE", "/auth/me", {"password": "a wrong guess"}, token)) == "invalid_credentials"
    async with kicks_heard(bus) as heard:
        assert (await send(auth, "DELETE", "/auth/me", {"password": PASSWORD}, token)).json() == {"ok": True}
        await until(lambda: heard)
    assert (heard[0].user_id, heard[0].logins) == (user_id, ())
    assert code(await auth.get("/auth/me", token)) == "invalid_token"
    assert code(await auth.post("/auth/refresh", {"refresh_token": granted["refresh_token"]})) == "invalid_token"
    assert code(await auth.login()) == "invalid_credentials"
    # Chat is away, then it has no ledger, then it takes its time.
    chat.refusing = True
    deletions = auth.components.deletions

    async def now() -> None:
        async with auth.components.database.transaction() as connection:
            await connection.execute(text("UPDATE auth.deletions SET next_at = clock_timestamp()"))
        await deletions.step(bus)

    async with serving(bus, chat):
        await now()
        assert tuple(await state_of(auth, user_id)) == (None, False)
        chat.refusing = False
        await now()
        assert tuple(await state_of(auth, user_id)) == ("e1", False)
        await now()
        assert not (await state_of(auth, user_id)).done
        chat.state = "completed"
        await now()
        assert (await state_of(auth, user_id)).done
    assert {*chat.asked} == {user_id}
    # The name is free again.
    assert (await auth.register())["user_id"] != user_id


async def test_chat_is_asked_without_delay_by_the_service_itself(auth: Auth, bus: Bus) -> None:
    granted, chat = await auth.register(), Chat()
    chat.state = "completed"
    async with serving(bus, chat):
        await send(auth, "DELETE", "/auth/me", {"password": PASSWORD}, granted["access_token"])
        await until(lambda: chat.asked)


async def test_where_a_gateway_may_have_missed_it_chat_is_asked_a_second_time(auth: Auth, bus: Bus) -> None:
    granted, chat = await auth.register(), Chat()
    chat.state = "completed"
    user_id, deletions = granted["user_id"], auth.components.deletions
    async with auth.components.database.transaction() as connection:
        await deletions.begin(connection, user_id)
    await deletions.repeat([user_id])
    later = text(
        "UPDATE auth.deletions SET next_at = next_at - interval '10 minutes' WHERE next_at > clock_timestamp()"
    )
    async with serving(bus, chat):
        await deletions.step(bus)
        assert not (await state_of(auth, user_id)).done
        assert not await deletions.step(bus)
        async with auth.components.database.transaction() as connection:
            await connection.execute(later)
        await deletions.step(bus)
        assert (await state_of(auth, user_id)).done
    assert chat.asked == [user_id] * 2


async def test_a_deletion_reaches_gateways_and_ones_bots_though_its_process_dies_in_between(
    auth: Auth, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kick_records, "UNTOLD_SECONDS", 0.0)
    monkeypatch.setattr(kick_records, "FOLLOW_INTERVAL", 0.05)
    granted, chat = await auth.register(), Chat()
    chat.state, token = "completed", granted["access_token"]
    bot = (await auth.post("/auth/bots", {"name": "Robbie"}, token)).json()["id"]

    async def dies(*_: Any) -> Any:
        raise RuntimeError("killed")

    kick = auth.components.gateways.kick
    monkeypatch.setattr(auth.components.gateways, "kick", dies)
    async with kicks_heard(bus) as heard, serving(bus, chat):
        assert (await send(auth, "DELETE", "/auth/me", {"password": PASSWORD}, token)).status_code == 500
        assert code(await auth.get("/auth/me", token)) == "invalid_token"
        assert not heard
        monkeypatch.setattr(auth.components.gateways, "kick", kick)
        await until(lambda: heard)
        assert heard[0].users == (granted["user_id"], bot)
        await until(lambda: {granted["user_id"], bot} <= {*chat.asked})


async def test_the_last_administrator_stays(auth: Auth) -> None:
    admin = await auth.admin_token()
    assert code(await send(auth, "DELETE", "/auth/me", {"password": ADMIN_PASSWORD}, admin)) == "forbidden"
    other = await auth.register()
    async with auth.components.database.transaction() as connection:
        await connection.execute(update(users).where(users.c.id == other["user_id"]).values(roles=["admin"]))
    both = ((admin, ADMIN_PASSWORD), (other["access_token"], PASSWORD))
    answers = await asyncio.gather(
        *(send(auth, "DELETE", "/auth/me", {"password": password}, token) for token, password in both)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 403]


# -- export ----------------------------------------------------------------------------------------------------------


async def exported(auth: Auth, token: str) -> list[dict[str, Any]]:
    response = await auth.get("/auth/me/export", token)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def test_all_that_is_kept_of_somebody_is_given_to_them_line_by_line(auth: Auth, bus: Bus) -> None:
    granted, chat = await auth.register(), Chat()
    chat.pages = {"": UserEvents([b'{"n":1}', b'{"n":2}'], "1:2"), "1:2": UserEvents([b'{"n":3}'])}
    async with serving(bus, chat):
        lines = await exported(auth, granted["access_token"])
    assert [line["type"] for line in lines] == ["account", "session", "event", "event", "event", "end"]
    assert lines[0]["account"]["username"] == "alice"
    assert lines[1]["session"]["id"] == session_of(granted)
    assert [line["event"]["n"] for line in lines[2:5]] == [1, 2, 3]
    assert lines[-1]["end"] == {"events": 3}
    assert "argon2" not in json.dumps(lines)


async def test_an_export_has_ones_bots_keys_bans_and_suspensions_and_no_secret(auth: Auth, bus: Bus) -> None:
    granted, admin, chat = await auth.register(), await auth.admin_token(), Chat()
    token, user = granted["access_token"], f"/admin/users/{granted['user_id']}"
    bot = (await auth.post("/auth/bots", {"name": "Robbie"}, token)).json()["id"]
    key = (await auth.post(f"/auth/bots/{bot}/keys", {"name": "k", "scopes": ["chat:read"]}, token)).json()
    another = await auth.register("another")
    await auth.post("/auth/bots", {"name": "Marvin"}, another["access_token"])
    for path in ("ban", "suspension"):
        await auth.post(f"{user}/{path}", {"reason": f"why {path}"}, admin)
    await auth.post(f"{user}/unban", token=admin)
    token = (await auth.login()).json()["access_token"]
    async with serving(bus, chat):
        lines = await exported(auth, token)
    found = {line["type"]: line[line["type"]] for line in lines}
    assert [line["type"] for line in lines[-5:]] == ["bot", "api_key", "ban", "suspension", "end"]
    assert (found["bot"]["id"], found["api_key"]["id"], found["api_key"]["user_id"]) == (bot, key["id"], bot)
    assert (found["ban"]["reason"], found["suspension"]["reason"]) == ("why ban", "why suspension")
    assert found["ban"]["lifted_at"] is not None
    assert key["key"].split("_", 2)[2] not in json.dumps(lines)


async def test_only_so_many_export_at_a_time_however_they_begin(auth: Auth, bus: Bus) -> None:
    export = auth.components.data_export
    async with serving(bus, Chat()):
        begun = [export.begin(Identity(f"u_{number}", "Somebody")) for number in range(AT_ONCE + 1)]
        first = [json.loads(await anext(lines))["type"] for lines in begun]
        assert first == ["account"] * AT_ONCE + ["error"]
        rest = [[json.loads(line)["type"] async for line in lines] for lines in begun]
        assert rest == [["end"]] * AT_ONCE + [[]]
        assert [line async for line in export.begin(Identity("u_9", "Somebody"))]


async def test_an_export_that_chat_does_not_finish_says_so(
    auth: Auth, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley.auth.accounts.data_export.PAUSES", (0.01,))
    token = (await auth.register())["access_token"]
    lines = await exported(auth, token)
    assert [line["type"] for line in lines] == ["account", "session", "error"]
    assert lines[-1]["error"]["code"] == "unavailable"
    for _ in range(5):
        await exported(auth, token)
    assert code(await auth.get("/auth/me/export", token)) == "rate_limited"
