"""The audit log: what each entry says, that it only grows, that retries leave one entry, and its export."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from parley.auth.moderation import audit
from parley.common.errors import Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.admin import ArchiveRoomRequest
from tests.support.auth.service import Auth, bearer, code, running_auth


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


@pytest.fixture
async def admin(auth: Auth) -> str:
    return await auth.admin_token()


async def test_bans_and_suspensions_say_what_was_before_and_after(auth: Auth, admin: str):
    user = (await auth.register())["user_id"]
    for what, lifted in (("ban", "unban"), ("suspension", "")):
        await auth.post(f"/admin/users/{user}/{what}", {"reason": "first"}, admin)
        await auth.post(f"/admin/users/{user}/{what}", {"reason": "second", "duration_seconds": 60}, admin)
        if lifted:
            await auth.post(f"/admin/users/{user}/{lifted}", {}, admin)
        else:
            await auth.client.delete(f"/admin/users/{user}/{what}", headers=bearer(admin))
        entries = (await auth.get("/admin/audit", admin, target=user, limit=3)).json()["entries"]
        reasons = [
            (entry["before"][what] and entry["before"][what]["reason"],
             entry["after"][what] and entry["after"][what]["reason"])
            for entry in reversed(entries)
        ]  # fmt: skip
        assert reasons == [(None, "first"), ("first", "second"), ("second", None)]


async def test_it_only_grows(auth: Auth, admin: str):
    await auth.post("/admin/users/guest:1/kick", {}, admin)
    for statement in ("UPDATE auth.audit SET admin_id = 'x'", "DELETE FROM auth.audit", "TRUNCATE auth.audit"):
        with pytest.raises(Reject) as refused:
            async with auth.components.database.transaction() as connection:
                await connection.execute(text(statement))
        assert "only grows" in str(refused.value.__cause__)
    assert len((await auth.get("/admin/audit", admin)).json()["entries"]) == 1


async def test_a_retry_of_a_named_request_leaves_one_entry(auth: Auth, admin: str, bus: Bus):
    asked: list[ArchiveRoomRequest] = []

    async def archive(request: ArchiveRoomRequest) -> None:
        asked.append(request)

    await bus.respond(subjects.ARCHIVE_ROOM, ArchiveRoomRequest, archive, "chat")
    await bus.flush()
    one, other = str(uuid4()), str(uuid4())
    for body in ({"id": one}, {"id": one}, {"id": other}):
        response = await auth.post("/admin/rooms/r/close", {"reason": "over", **body}, admin)
        assert response.status_code == 200, response.text
    assert [request.id for request in asked] == [one, one, other]
    for key in ("k1", "k1", "k2"):
        headers = {**bearer(admin), "idempotency-key": key}
        await auth.client.post("/admin/users/guest:1/kick", json={}, headers=headers)
    entries = (await auth.get("/admin/audit", admin)).json()["entries"]
    named = [(entry["action"], entry["request_id"]) for entry in reversed(entries)]
    assert named == [("room.close", one), ("room.close", other), ("user.kick", "k1"), ("user.kick", "k2")]
    for key in ("x" * 65, "\x7f"):
        headers = {**bearer(admin), "idempotency-key": key}
        assert code(await auth.client.post("/admin/users/guest:1/kick", json={}, headers=headers)) == "invalid_payload"


async def test_it_is_exported_in_lines_with_filters_page_by_page(
    auth: Auth, admin: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(audit, "EXPORT_PAGE", 2)
    for number in range(5):
        await auth.post(f"/admin/users/guest:{number % 2}/kick", {"reason": str(number)}, admin)

    async def exported(**query: Any) -> list[dict[str, Any]]:
        response = await auth.get("/admin/audit/export", admin, **query)
        assert response.headers["content-type"].startswith("application/x-ndjson")
        return [json.loads(line) for line in response.text.splitlines()]

    entries = await exported()
    assert [entry["detail"]["reason"] for entry in entries] == ["0", "1", "2", "3", "4"]
    first = await exported(limit=3)
    assert first == entries[:3]
    assert await exported(after=first[-1]["id"]) == entries[3:]
    assert await exported(target="guest:1") == [entries[1], entries[3]]
    assert await exported(since=entries[3]["at"]) == entries[3:]
    assert await exported(until=entries[3]["at"], action="user.kick") == entries[:3]
    assert await exported(admin_id="nobody") == []
    for query in ({"since": "yesterday"}, {"since": "2026-01-01T00:00:00"}, {"limit": 0}, {"action": "\x00"}):
        response = await auth.get("/admin/audit/export", admin, **query)
        assert (response.status_code, code(response)) == (422, "invalid_payload"), query
