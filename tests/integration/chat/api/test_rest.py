"""Chat over HTTP: the commands of the socket, one validation, statuses of the table, a rate for each user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley.chat.api.commands import COMMANDS
from parley.chat.api.own_state import OWN_ROUTES
from parley.chat.api.people_routes import PEOPLE_ROUTES
from parley.chat.api.socket import router
from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.admin import ArchiveRoomRequest, EraseUser, ErasureInfo, GetErasure
from tests.support.bus import running_bus
from tests.support.chat.rest_api import ADMIN, Rest, running_rest
from tests.support.waiting import until


@pytest.fixture
async def rest(database_url: str, own_nats: Any) -> AsyncIterator[Rest]:
    async with running_bus(own_nats.url, "auth") as bus, running_rest(database_url, own_nats.url, bus) as running:
        yield running


async def test_what_users_ask_about_themselves_is_asked_over_http_as_well(rest: Rest):
    paths = (await rest.http.get("/api/openapi.json")).json()["paths"]
    assert all(row.method.lower() in paths[f"/api{row.path}"] for row in OWN_ROUTES)
    room = await rest.room()
    await rest.send("POST", f"/rooms/{room}/join", {}, user="ben")
    await rest.send("POST", f"/rooms/{room}/messages", {"body": "hello"})
    status, page = await rest.send("GET", "/me/rooms", user="ben", limit="1")
    assert (status, page["more"]) == (200, False)
    assert [(one["id"], one["unread"], one["last"]["text"]) for one in page["rooms"]] == [(room, 1, "hello")]
    read = await rest.send("POST", f"/rooms/{room}/read", {"sequence": 3}, user="ben")
    assert read == (200, {"ok": True, "sequence": 3, "unread": 0, "mentions": 0})
    unread = await rest.send("POST", f"/rooms/{room}/unread", {"sequence": 3}, user="ben")
    assert unread == (200, {"ok": True, "sequence": 2, "unread": 1, "mentions": 0})
    assert await rest.code("POST", f"/rooms/{room}/read", {"sequence": 4}, user="ben") == "invalid_payload"
    assert await rest.code("POST", f"/rooms/{room}/read", {"sequence": "3"}, user="ben") == "invalid_payload"
    assert await rest.code("GET", "/me/rooms", limit="1001") == "invalid_payload"
    assert await rest.code("GET", "/me/rooms", after="\x00") == "invalid_payload"
    assert (await rest.send("GET", f"/rooms/{room}/receipts", user="ben", sequence="3"))[1]["readers"] == 0
    assert await rest.code("GET", f"/rooms/{room}/receipts", user="carl") == "not_a_member"
    assert (await rest.send("POST", "/me/preferences", {"private_receipts": True}))[1]["private_receipts"] is True
    assert (await rest.send("GET", "/me/preferences"))[1] == {"ok": True, "private_receipts": True, "silenced": []}
    assert (await rest.send("POST", f"/rooms/{room}/level", {"level": "none"}))[0] == 200
    assert await rest.code("POST", f"/rooms/{room}/level", {"level": "some"}) == "invalid_payload"
    await rest.send("POST", f"/rooms/{room}/messages", {"body": "re", "thread": 3}, user="ben")
    status, followed = await rest.send("GET", "/me/threads", limit="1")
    assert (status, followed["more"]) == (200, False)
    assert [(one["room"], one["thread"], one["replies"], one["unread"]) for one in followed["threads"]] == [
        (room, 3, 1, 1)
    ]
    read = await rest.send("POST", f"/rooms/{room}/threads/3/read", {"sequence": 4})
    assert read == (200, {"ok": True, "sequence": 4, "unread": 0})
    assert await rest.code("POST", f"/rooms/{room}/threads/x/read", {"sequence": 4}) == "invalid_payload"
    assert await rest.code("POST", f"/rooms/{room}/threads/4/read", {"sequence": 4}) == "not_found"
    assert await rest.code("GET", "/me/threads", after="x") == "invalid_payload"


async def test_rooms_are_asked_for_by_custom_data_in_a_query(rest: Rest):
    await rest.room()
    await rest.room(name="Team", custom={"team": "a", "n": 1})
    for asked, number in (('{"team":"a"}', 1), ('{"team":"b"}', 0), ("{}", 2), ('{"n":1.0}', 1)):
        assert len((await rest.send("GET", "/me/rooms", custom=asked))[1]["rooms"]) == number, asked
    for asked in ("team", '["a"]', '{"a":', '{"a":1,"a":2}', "[" * 200, '{"a":"\\u0000"}', '{"a":NaN}'):
        assert await rest.code("GET", "/me/rooms", custom=asked) == "invalid_payload", asked
    assert await rest.code("GET", "/me/rooms", custom='{"a":"' + "x" * 1100 + '"}') == "payload_too_large"
    parameters = (await rest.http.get("/api/openapi.json")).json()["paths"]["/api/me/rooms"]["get"]["parameters"]
    (custom,) = [one for one in parameters if one["name"] == "custom"]
    assert "object" in str(custom["content"]["application/json"]["schema"])


async def test_everybody_who_reacted_is_asked_over_http_page_by_page(rest: Rest):
    room = await rest.room()
    await rest.send("POST", f"/rooms/{room}/messages", {"body": "hello"})
    for user in ("ben", "carl"):
        await rest.send("POST", f"/rooms/{room}/join", {}, user=user)
    for user, emoji in (("ann", "b"), ("ben", "a"), ("carl", "b"), ("ben", "b")):
        status, _ = await rest.send("POST", f"/rooms/{room}/messages/2/react", {"emoji": emoji}, user=user)
        assert status == 200
    seen: list[tuple[str, str]] = []
    page: dict[str, Any] = {"next": ""}
    while (after := page.get("next")) is not None:
        status, page = await rest.send("GET", f"/rooms/{room}/messages/2/reactions", limit="1", after=after, user="ben")
        assert (status, len(page["reactions"])) == (200, 1)
        seen += [(one["emoji"], one["user"]["name"]) for one in page["reactions"]]
    assert (seen, page["more"]) == ([("a", "ben"), ("b", "ann"), ("b", "carl"), ("b", "ben")], False)
    _, of_one = await rest.send("GET", f"/rooms/{room}/messages/2/reactions", emoji="b")
    assert [one["user"]["name"] for one in of_one["reactions"]] == ["ann", "carl", "ben"]
    reactions = f"/rooms/{room}/messages/2/reactions"
    for query in ({"limit": "0"}, {"limit": "201"}, {"after": "x"}, {"after": "1.\x00"}, {"emoji": " "}, {"emoji": ""}):
        assert await rest.code("GET", reactions, **query) == "invalid_payload", query
    assert await rest.code("GET", f"/rooms/{room}/messages/1/reactions") == "not_found"
    assert await rest.code("GET", f"/rooms/{room}/messages/x/reactions") == "not_found"
    secret = await rest.room(kind="private")
    await rest.send("POST", f"/rooms/{secret}/messages", {"body": "hello"})
    assert await rest.code("GET", f"/rooms/{secret}/messages/2/reactions", user="ben") == "not_found"


async def test_every_command_of_the_socket_is_a_request_with_a_described_body(rest: Rest):
    others = {row.name for row in (*PEOPLE_ROUTES, *OWN_ROUTES)} | {
        "history",
        "sync",
        "pins",
        "typing",
        "presence",
        "presence.set",
        "search",
        "files",
        "preview",
        "reactions",
    }
    assert {row.command.NAME for row in COMMANDS} == router.routes.keys() - others
    paths = (await rest.http.get("/api/openapi.json")).json()["paths"]
    for row in COMMANDS:
        described = paths[f"/api{row.path}"]["post"]
        schema = described["requestBody"]["content"]["application/json"]["schema"]
        in_path = {parameter["name"] for parameter in described.get("parameters", [])}
        assert schema["properties"].keys() | in_path == {field.name for field in msgspec.structs.fields(row.command)}
        assert "id" not in schema.get("required", [])
    assert "cursors" in str(paths["/api/sync"]["post"]["requestBody"])


async def test_a_conversation_over_http(rest: Rest):
    room = await rest.room(id="make")
    assert await rest.room(id="make") == room
    status, answer = await rest.send("POST", f"/rooms/{room}/join", user="ben")
    assert (status, answer["room"]["joined"]) == (200, True)
    await rest.send("POST", f"/rooms/{room}/messages", {"body": "first"})
    status, sent = await rest.send("POST", f"/rooms/{room}/messages", {"id": "m", "body": "hello", "reply_to": 3.0})
    assert (status, sent["number"]) == (200, 2)
    assert await rest.send("POST", f"/rooms/{room}/messages", {"id": "m", "body": "hello", "reply_to": 3}) == (
        200,
        sent,
    )
    _, page = await rest.send("GET", f"/rooms/{room}/messages", limit=1)
    assert [event["data"]["body"] for event in page["events"]] == ["hello"]
    _, synced = await rest.send("POST", "/sync", {"cursors": {room: 3.0}, "log": page["log"]})
    assert [event["id"] for event in synced["rooms"][room]["events"]] == ["m"]
    assert synced["log"] == page["log"]
    status, invited = await rest.send("POST", f"/rooms/{room}/invite", {"user": {"id": "u_cid", "name": "Cid"}})
    assert (status, invited["ok"]) == (200, True)
    status, updated = await rest.send("POST", f"/rooms/{room}/update", {"name": "Plans", "topic": "Summer"})
    assert (status, updated["sequence"]) == (200, 6)
    _, found = await rest.send("GET", "/rooms", user="cid", search="plans")
    assert [(one["name"], one["topic"], one["head"]) for one in found["rooms"]] == [("Plans", "Summer", 6)]
    assert await rest.code("POST", f"/rooms/{room}/update", {"name": "Mine"}, user="ben") == "forbidden"
    assert (await rest.send("POST", f"/rooms/{room}/transfer", {"user": "u_ben"}))[0] == 200
    assert await rest.code("POST", f"/rooms/{room}/archive") == "forbidden"
    assert (await rest.send("POST", f"/rooms/{room}/archive", {"reason": "done"}, user="ben"))[0] == 200
    assert await rest.code("POST", f"/rooms/{room}/messages", {"body": "late"}) == "room_archived"
    assert (await rest.send("POST", f"/rooms/{room}/leave", user="ben"))[0] == 200


@pytest.mark.parametrize(
    "content",
    [b'{"body": "x", "reply_to": true}', b'{"body": "x", "reply_to": "1"}', b'{"body": "x", "reply_to": 1.5}',
     b'{"body": "x", "other": NaN}', b'{"body": "x", "other": "\\ud83d"}', b'{"body": "x\\u0000"}', b'{"body": 7}',
     b'{"body": "x", "id": "a b"}', b'{"body": "x", "id": "a\\n"}', b'{"body": ""}', b"[]", b"", b"nonsense",
     '{"body": "x"}'.encode("utf-16")],
)  # fmt: skip
async def test_what_the_socket_refuses_is_refused_with_the_same_code(rest: Rest, content: bytes):
    room = await rest.room(id="make")
    assert await rest.code("POST", f"/rooms/{room}/messages", content=content) == "invalid_payload"


async def test_statuses_are_those_of_the_table_whatever_is_wrong(rest: Rest):
    room = await rest.room(kind="private")
    assert await rest.code("PUT", "/rooms") == "not_found"
    for unknown in ("/nowhere", "/../redoc"):
        assert await rest.code("GET", unknown) == "not_found"
    for asked in (room, "rnowhere", "a%00b", "x" * 70):
        assert await rest.code("GET", f"/rooms/{asked}", user="ben") == "not_found"
    for number in ("9" * 17, "9" * 5000, "-1", "1.0"):
        assert await rest.code("POST", f"/rooms/{asked}/messages/{number}/pin", user="ben") == "not_found"
        assert await rest.code("GET", f"/rooms/{asked}/messages/{number}/reactions", user="ben") == "not_found"
    assert await rest.code("GET", "/rooms", before=room, user="ben") == "not_found"
    assert await rest.code("POST", f"/rooms/{room}/join", user="ben") == "not_found"
    assert await rest.code("POST", "/sync", {"cursors": {room: -1}}) == "invalid_payload"
    assert await rest.code("GET", f"/rooms/{room}/messages", limit=0) == "invalid_payload"


async def test_an_administrator_closes_rooms_by_the_admin_api_alone_and_as_often_as_they_like(
    rest: Rest, own_nats: Any
):
    room, secret = await rest.room(), await rest.room(kind="private")
    assert await rest.code("POST", f"/rooms/{room}/archive", user="admin") == "not_a_member"
    assert await rest.code("POST", f"/rooms/{secret}/archive", user="admin") == "not_found"
    async with running_bus(own_nats.url, "auth") as auth:
        for number in range(2):
            await auth.call(subjects.ARCHIVE_ROOM, ArchiveRoomRequest(f"close{number}", secret, "over", ADMIN))
    _, answer = await rest.send("GET", f"/rooms/{secret}")
    assert (answer["room"]["archived"], answer["room"]["head"]) == (True, 2)


async def test_a_user_who_asks_too_fast_is_told_to_wait_and_nobody_else_is(database_url: str, own_nats: Any):
    async with (
        running_bus(own_nats.url, "auth") as bus,
        running_rest(
            database_url, own_nats.url, bus, chat_user_requests_per_second=0.001, chat_user_requests_burst=3
        ) as rest,
    ):
        outcomes = [(await rest.send("GET", "/rooms"))[0] for _ in range(5)]
        assert outcomes == [200, 200, 200, 429, 429]
        assert (await rest.send("GET", "/rooms", user="ben"))[0] == 200


async def test_an_administrator_has_a_user_erased_and_sees_how_far_that_is(
    database_url: str, nats_url: str, bus: Bus, tmp_path: Path
):
    async with running_rest(database_url, nats_url, bus) as rest:
        with pytest.raises(Reject, match="PARLEY_CHAT_ERASURE_LEDGER"):
            await bus.request(subjects.ERASE_USER, EraseUser("u_ann"), ErasureInfo)
    ledger = tmp_path / "erasures.jsonl"
    async with running_rest(database_url, nats_url, bus, chat_erasure_ledger=ledger) as rest:
        room = await rest.room()
        assert (await rest.send("POST", f"/rooms/{room}/join", user="ben"))[0] == 200
        await rest.send("POST", f"/rooms/{room}/messages", {"body": "my address"})
        with pytest.raises(Reject) as caught:
            await bus.request(subjects.GET_ERASURE, GetErasure("u_ann"), ErasureInfo)
        assert caught.value.code is Code.NOT_FOUND
        asked = await bus.request(subjects.ERASE_USER, EraseUser("u_ann"), ErasureInfo)
        _, page = await rest.send("GET", f"/rooms/{room}/messages", user="ben")
        assert "my address" not in str(page), "hidden by the time the administrator is answered"

        said: list[str] = []

        async def completed() -> bool:
            found = await bus.request(subjects.GET_ERASURE, GetErasure("u_ann"), ErasureInfo)
            assert found.id == asked.id
            said.append(str(found))
            return found.state == "completed" and found.events == 4

        await until(completed, lambda: f"the erasure is completed, and not {said[-1]}", 30)
        assert asked.id in ledger.read_text()
        _, page = await rest.send("GET", f"/rooms/{room}/messages", user="ben")
        assert [event["type"] for event in page["events"] if "erased" not in event] == ["member.joined"]
        _, page = await rest.send("GET", f"/rooms/{room}/messages", user="ben", raw="true")
        shown = [event["type"] for event in page["events"] if "erased" not in event]
        assert shown == ["member.joined", "events.erased"]
        assert (await rest.http.get("/readyz")).status_code == 200
