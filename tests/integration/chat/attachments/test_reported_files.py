"""Files of reported messages: kept for moderators when the message is deleted, until the report is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from parley.chat.attachments.cleanup import FileCleanup
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.moderation import reports
from tests.support.bus import running_bus
from tests.support.chat.erasing import erase
from tests.support.chat.rest_api import Rest, running_rest
from tests.support.chat.uploading import Sender, announced, left
from tests.support.waiting import until

VILE = b"a picture of something vile"


@pytest.fixture
async def rest(database_url: str, own_nats: Any, directory: Path) -> AsyncIterator[Rest]:
    async with (
        running_bus(own_nats.url, "auth") as bus,
        running_rest(database_url, own_nats.url, bus, chat_uploads=str(directory)) as running,
    ):
        yield running


class Scene:
    """A private room of Ann, which Dan moderates; Ben has sent a file there that Cat may report."""

    def __init__(self, rest: Rest, directory: Path, database_url: str) -> None:
        self.rest, self.directory, self.database_url = rest, directory, database_url
        self.room, self.message, self.upload = "", 0, ""
        self.pool: Pool = rest.app.state.services.reads
        self.cleanup: FileCleanup = rest.app.state.services.files.cleanup

    async def begin(self) -> Scene:
        self.room = await self.rest.room(kind="private")
        for who in ("ben", "cat", "dan"):
            await self.ask("POST", f"/rooms/{self.room}/invite", {"user": {"id": f"u_{who}"}})
            await self.ask("POST", f"/rooms/{self.room}/join", user=who)
        await self.ask("POST", f"/rooms/{self.room}/role", {"user": "u_dan", "role": "moderator"})
        self.upload, self.message = await self.sent(VILE)
        return self

    async def sent(self, data: bytes) -> tuple[str, int]:
        ben = Sender(self.rest, "ben")
        upload = await ben.upload(data, "vile.txt")
        _, sent = await ben.message(self.room, upload, body="look")
        return upload, sent["sequence"]

    async def ask(self, method: str, path: str, body: Any = None, *, user: str = "ann", **query: Any) -> dict[str, Any]:
        status, answer = await self.rest.send(method, path, body, user=user, **query)
        assert status == 200, answer
        return answer

    async def report(self, user: str = "cat", **fields: Any) -> str:
        said = {"id": f"by-{user}", "message": self.message, "category": "hate"} | fields
        return (await self.ask("POST", f"/rooms/{self.room}/reports", said, user=user))["report"]

    async def delete(self, user: str = "ben") -> None:
        """Delete the message, and wait until its files were dealt with."""
        await self.ask("POST", f"/rooms/{self.room}/messages/{self.message}/delete", {}, user=user)
        # It is kept for a moment in any case, before it is asked whether a report names it.
        query = """
        SELECT u.state = 'kept' AND EXISTS (
          SELECT FROM chat.reports r WHERE r.copy::text LIKE '%' || u.upload_id || '%'
        ) FROM chat.uploads u WHERE u.upload_id = $1
        """

        async def dealt_with() -> bool:
            return await self.pool.fetchval(query, UUID(self.upload)) in {None, True}

        await until(dealt_with, "the consumer has heard of it")

    async def resolve(self, report: str) -> None:
        await self.ask("POST", f"/rooms/{self.room}/reports/{report}/resolve", {"resolution": "acted"}, user="dan")

    async def files(self, report: str, user: str = "dan") -> list[dict[str, Any]]:
        return (await self.ask("GET", f"/rooms/{self.room}/reports/{report}/files", user=user))["files"]

    async def fetched(self, address: str) -> tuple[int, bytes]:
        answer = await self.rest.http.get(address)
        return answer.status_code, answer.content

    async def days_pass(self, days: int) -> None:
        past = "UPDATE chat.reports SET resolved_at = resolved_at - make_interval(days => $1)"
        await self.pool.fetch(past, days)

    def kept(self) -> bool:
        return f"{self.upload}/file" in left(self.directory)


@pytest.fixture
async def scene(rest: Rest, directory: Path, database_url: str) -> Scene:
    return await Scene(rest, directory, database_url).begin()


async def test_a_moderator_sees_the_file_of_a_reported_message_that_was_deleted_until_the_report_is_long_closed(
    scene: Scene,
):
    report = await scene.report()
    (view,) = (await scene.ask("GET", "/reports", user="dan", room=scene.room))["reports"]
    reported = next(one for one in view["copy"] if one["sequence"] == scene.message)
    assert reported["attachments"] == [
        {"id": scene.upload, "name": "vile.txt", "type": "text/plain", "size": len(VILE)}
    ]
    await scene.ask("POST", f"/rooms/{scene.room}/messages/{scene.message}/edit", {"body": "a kitten", "version": 1},
                    user="ben")  # fmt: skip
    await scene.delete()
    assert await scene.cleanup.look() == 0
    (file,) = await scene.files(report)
    assert await scene.fetched(file["url"]) == (200, VILE)
    assert [await scene.fetched(one["url"]) for one in await scene.files(report, "admin")] == [(200, VILE)]
    await scene.resolve(report)
    assert await scene.cleanup.look() == 0
    assert await scene.fetched(file["url"]) == (200, VILE), "for a time"
    await scene.days_pass(29)
    assert (await scene.cleanup.look(), scene.kept()) == (0, True)
    await scene.days_pass(1)
    assert (await scene.fetched(file["url"]))[0] == 404
    assert await scene.files(report) == []
    assert (await scene.cleanup.look(), scene.kept()) == (1, False)
    assert await scene.pool.fetchval("SELECT count(*) FROM chat.uploads") == 0


async def test_it_is_kept_until_the_last_of_its_reports_is_closed(scene: Scene):
    first, second = await scene.report(), await scene.report("dan")
    await scene.delete()
    await scene.resolve(first)
    await scene.days_pass(30)
    assert (await scene.cleanup.look(), scene.kept()) == (0, True)
    assert await scene.files(first) == []
    (file,) = await scene.files(second, "ann")
    assert await scene.fetched(file["url"]) == (200, VILE)


async def test_files_of_what_is_around_a_reported_message_are_not_kept(scene: Scene):
    _, sequence = await scene.sent(b"another one")
    report = await scene.report(message=sequence)
    (view,) = (await scene.ask("GET", "/reports", user="dan", room=scene.room))["reports"]
    assert [one["sequence"] for one in view["copy"] if "attachments" in one] == [sequence]
    await scene.delete()
    assert not scene.kept()
    (file,) = await scene.files(report)
    assert await scene.fetched(file["url"]) == (200, b"another one"), "of a message that is there as well"


async def test_who_is_reported_and_who_moderates_nothing_gets_nothing_nor_learns_of_it(scene: Scene):
    report = await scene.report()
    before = await scene.ask("GET", "/uploads", user="ben")
    assert [one["id"] for one in before["uploads"]] == [scene.upload]
    (file,) = await scene.files(report)
    await scene.delete()
    assert (await scene.ask("GET", "/uploads", user="ben"))["uploads"] == []
    path = f"/rooms/{scene.room}/reports/{report}/files"
    codes = {who: await scene.rest.code("GET", path, user=who) for who in ("ben", "cat", "eve")}
    assert codes == {"ben": "forbidden", "cat": "forbidden", "eve": "not_found"}
    for method, way in (("POST", "/complete"), ("DELETE", "")):
        said = [
            await scene.rest.send(method, f"/uploads/{upload}{way}", user="ben")
            for upload in (scene.upload, "00000000-0000-4000-8000-000000000000")
        ]
        assert said[0] == said[1], "as if there were none"
    headers = {"authorization": "Bearer ben", "content-type": "application/octet-stream"}
    put = await scene.rest.http.put(f"/api/uploads/{scene.upload}/parts/0", content=VILE, headers=headers)
    assert (put.status_code, put.json()["error"]["message"]) == (404, "There is no such upload.")
    for who in ("ben", "cat", "dan", "ann"):
        asked = await scene.ask("POST", "/files", {"uploads": [scene.upload]}, user=who)
        assert asked["files"] == [], "not without the report"
    # As a moderator the reported still sees nothing, and who is no moderator any more has a ticket for nothing.
    await scene.ask("POST", f"/rooms/{scene.room}/role", {"user": "u_ben", "role": "moderator"})
    assert await scene.rest.code("GET", path, user="ben") == "not_found"
    assert (await scene.fetched(file["url"]))[0] == 200
    await scene.ask("POST", f"/rooms/{scene.room}/role", {"user": "u_dan", "role": "member"})
    assert (await scene.fetched(file["url"]))[0] == 404
    ticket = file["url"].split("/")[3]
    for forged in (ticket[:-2] + "AA", ticket[:60], ticket + "AA"):
        assert (await scene.fetched(f"/api/files/{forged}/file"))[0] == 404
    for other in ("00000000-0000-4000-8000-000000000000", "nonsense"):
        assert await scene.rest.code("GET", path.replace(report, other)) in {"not_found", "invalid_payload"}


async def test_what_nobody_reported_goes_with_its_message_and_what_is_closed_long_ago_too(scene: Scene):
    await scene.delete()
    assert not scene.kept()
    scene.upload, scene.message = await scene.sent(VILE)
    report = await scene.report(id="2")
    await scene.resolve(report)
    await scene.days_pass(31)
    await scene.delete()
    await until(lambda: not scene.kept(), "it is removed")


@pytest.mark.parametrize("deleted", [False, True], ids=["there", "deleted"])
@pytest.mark.parametrize("scope", ["user", "message", "room"])
async def test_an_erasure_goes_over_reports_at_once_for_readers_and_then_for_the_bytes(
    scene: Scene, tmp_path: Path, scope: str, deleted: bool
):
    report = await scene.report()
    if deleted:
        await scene.delete()
    (file,) = await scene.files(report)
    async with scene.pool.acquire() as connection:
        if scope == "user":
            requested = await erasures.request_user(connection, "u_ben")
        elif scope == "message":
            requested = await erasures.request_message(connection, scene.room, scene.message)
        else:
            requested = await erasures.request_room(connection, scene.room)
    assert (await scene.fetched(file["url"]))[0] == 404
    if scope != "room":
        assert await scene.files(report) == []
    await erase(scene.database_url, Ledger(tmp_path / "ledger"), requested)

    async def gone() -> bool:
        # What was deleted before is found by looking, which happens twice a minute.
        await scene.cleanup.look()
        return left(scene.directory) == [] and await scene.pool.fetchval("SELECT count(*) FROM chat.uploads") == 0

    await until(gone, "the bytes are gone, and then the row")
    assert (await scene.fetched(file["url"]))[0] == 404


async def test_files_of_a_message_that_is_deleted_while_a_report_names_them_wait_for_the_report(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    named, go_on = asyncio.Event(), asyncio.Event()
    files = reports._files

    async def slowly(*of: Any) -> Any:
        found = await files(*of)
        named.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(reports, "_files", slowly)
    reporting = asyncio.create_task(scene.report())
    await named.wait()
    deleting = asyncio.create_task(scene.delete())
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%kept%'"

    async def heard_of_it() -> bool:
        return not scene.kept() or await scene.pool.fetchval(waits) > 0

    await until(heard_of_it, "the files are about to be removed")
    go_on.set()
    report = await reporting
    await deleting
    (file,) = await scene.files(report)
    assert await scene.fetched(file["url"]) == (200, VILE)


async def test_a_report_that_comes_too_late_for_the_files_of_its_message_names_none(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    looked, go_on = asyncio.Event(), asyncio.Event()
    erasing = reports.open_erasures

    async def slowly(connection: Any) -> Any:
        looked.set()
        await go_on.wait()
        return await erasing(connection)

    monkeypatch.setattr(reports, "open_erasures", slowly)
    reporting = asyncio.create_task(scene.report())
    await looked.wait()
    await scene.delete()
    go_on.set()
    report = await reporting
    monkeypatch.undo()
    assert await scene.files(report) == []
    (view,) = (await scene.ask("GET", "/reports", user="dan", room=scene.room))["reports"]
    assert not any("attachments" in one for one in view["copy"])
    assert not scene.kept()


async def test_files_that_were_kept_are_removed_again_until_they_are_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    report = await scene.report()
    await scene.delete()
    await scene.resolve(report)
    await scene.days_pass(30)

    async def failing(*_: Any) -> None:
        raise OSError("the disk is away")

    with monkeypatch.context() as patched:
        patched.setattr("parley.chat.attachments.byte_store.ByteStore.remove", failing)
        with pytest.raises(OSError, match="away"):
            await scene.cleanup.look()
    assert scene.kept()
    await scene.pool.fetch("UPDATE chat.uploads SET expires_at = now() WHERE state = 'gone'")  # the minute is over
    assert (await scene.cleanup.look(), scene.kept()) == (1, False)


async def test_two_who_report_each_other_do_not_fill_the_disk(database_url: str, own_nats: Any, directory: Path):
    quota = 2 * len(VILE) + 6
    settings = {"chat_uploads": str(directory), "chat_upload_quota": quota}
    async with (
        running_bus(own_nats.url, "auth") as bus,
        running_rest(database_url, own_nats.url, bus, **settings) as rest,
    ):
        scene = await Scene(rest, directory, database_url).begin()

        async def announces(size: int) -> bool:
            announcement = announced(VILE) | {"size": size}
            status, answer = await rest.send("POST", "/uploads", announcement, user="ben")
            if status == 200:
                await scene.ask("DELETE", f"/uploads/{answer['id']}", user="ben")
                await scene.cleanup.look()
            return status == 200

        allowed: list[bool] = []
        for number in range(4):
            report = await scene.report(id=f"{number}")
            await scene.delete()
            await scene.resolve(report)
            allowed.append(await announces(quota))
            if number < 3:
                scene.upload, scene.message = await scene.sent(VILE)
        # As long as one who is reported may be innocent of it, nothing of it is in their way.
        assert allowed == [True, True, False, False]
        assert not await announces(len(VILE))
