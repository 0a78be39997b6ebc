"""Files over HTTP on real Postgres: from the announcement to the message that has them, and to nobody else."""

from __future__ import annotations

import asyncio
import io
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image

from parley.chat.attachments import downloads, uploads
from parley.chat.attachments.cleanup import FileCleanup
from parley.chat.log.erasure import erasures
from parley.common.errors import Reject
from parley.common.nats.bus import Bus
from tests.support.bus import running_bus
from tests.support.chat.rest_api import Rest, running_rest
from tests.support.chat.uploading import Sender, announced, left
from tests.support.waiting import until


def picture(width: int, height: int, kind: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(written, kind, **options)
    return written.getvalue()


def pixel_bomb() -> bytes:
    """A PNG of a few kilobytes whose head promises 2.5 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


def zip_bomb() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(50_000_000))
    return written.getvalue()


@pytest.fixture
async def rest(database_url: str, own_nats: Any, directory: Path) -> AsyncIterator[Rest]:
    async with (
        running_bus(own_nats.url, "auth") as bus,
        running_rest(
            database_url, own_nats.url, bus, chat_uploads=str(directory), chat_upload_max_size=8 * 2**20,
            chat_upload_quota=12 * 2**20, chat_upload_max_pixels=1_000_000,
        ) as running,
    ):  # fmt: skip
        yield running


@pytest.fixture
def ann(rest: Rest) -> Sender:
    return Sender(rest)


@pytest.fixture
def ben(rest: Rest) -> Sender:
    return Sender(rest, "ben")


async def test_a_file_goes_from_its_sender_to_the_readers_of_its_message(
    rest: Rest, ann: Sender, ben: Sender, directory: Path
):
    room = await rest.room()
    data = bytes(range(256)) * 9000  # three parts
    text = await ann.upload(data.hex().encode()[: 2 * 2**20 + 77], "größe 1.txt")
    image = await ann.upload(picture(1000, 500), "a.png", "image/png")
    assert left(directory) == sorted([f"{text}/file", f"{image}/file", f"{image}/thumbnail"]), "the parts are gone"
    status, sent = await ann.message(room, text, image, body="")
    assert status == 200
    _, page = await rest.send("GET", f"/rooms/{room}/messages", user="ben")
    attachments = page["events"][-1]["data"]["attachments"]
    assert attachments[0] == {"id": text, "name": "größe 1.txt", "type": "text/plain", "size": 2 * 2**20 + 77}
    assert attachments[1] == {
        "id": image, "name": "a.png", "type": "image/png", "size": attachments[1]["size"], "width": 1000, "height": 500,
        "thumbnail": True,
    }  # fmt: skip
    first, second = sorted(await ben.addresses(text, image), key=lambda one: one["id"] != text)
    answer = await ben.fetch(first["url"])
    assert answer.content == data.hex().encode()[: 2 * 2**20 + 77]
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert (answer.headers["x-content-type-options"], answer.headers["content-type"]) == (
        "nosniff", "text/plain; charset=utf-8",
    )  # fmt: skip
    assert "sandbox" in answer.headers["content-security-policy"]
    small = Image.open(io.BytesIO((await ben.fetch(second["thumbnail_url"])).content))
    assert (small.format, small.size) == ("WEBP", (800, 400))
    assert (await ben.fetch(second["url"])).headers["content-disposition"].startswith("inline;")
    assert "thumbnail_url" not in first
    _, own = await rest.send("GET", "/uploads")
    assert {(one["id"], one["state"], one["room"], one["message"]) for one in own["uploads"]} == {
        (text, "attached", room, sent["sequence"]), (image, "attached", room, sent["sequence"])
    }  # fmt: skip


async def test_a_range_of_a_file_is_fetched(ann: Sender):
    upload = await ann.upload(b"0123456789")
    (file,) = await ann.addresses(upload)
    for asked, status, content in (
        ("bytes=2-4", 206, b"234"), ("bytes=-3", 206, b"789"), ("bytes=0-1,4-5", 200, b"0123456789"),
        ("bytes=10-", 416, b""),
    ):  # fmt: skip
        answer = await ann.fetch(file["url"], range=asked)
        assert (answer.status_code, answer.content) == (status, content)
    answer = await ann.fetch(file["url"], range="bytes=2-4")
    assert answer.headers["content-range"] == "bytes 2-4/10"
    assert (await ann.fetch(file["url"], **{"if-none-match": answer.headers["etag"]})).status_code == 304
    head = await ann.rest.http.head(file["url"])
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")


async def test_bytes_that_are_not_what_they_say_are_refused(ann: Sender, directory: Path):
    script = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    assert await ann.refused(script, "a.png", "image/png") == "invalid_payload"
    assert await ann.refused(b"MZ" + bytes(500), "a.pdf", "application/pdf") == "invalid_payload"
    assert await ann.refused(picture(9, 9)[:60], "a.png", "image/png") == "invalid_payload", "a head without an image"
    other = await ann.announce(b"x" * 10, sha256="0" * 64)
    assert await ann.put(other["id"], 0, b"x" * 10) == (200, "")
    assert await ann.rest.code("POST", f"/uploads/{other['id']}/complete") == "invalid_payload"
    for kind in ("text/html", "image/svg+xml", "application/x-msdownload", "nonsense"):
        assert await ann.rest.code("POST", "/uploads", announced(script, "a.html", kind)) == "forbidden"
    assert await ann.rest.app.state.services.files.cleanup.look() == 4
    assert left(directory) == []


async def test_bombs_are_refused_or_never_unpacked(ann: Sender, directory: Path):
    bomb = pixel_bomb()
    assert len(bomb) < 10_000
    assert await ann.refused(bomb, "a.png", "image/png") == "payload_too_large"
    archive = zip_bomb()
    upload = await ann.upload(archive, "a.zip", "application/zip")
    (file,) = await ann.addresses(upload)
    assert (await ann.fetch(file["url"])).content == archive, "a small file, as it came"
    turned = await ann.upload(picture(30, 20, "JPEG", exif=_lying_on_its_side()), "a.jpg", "image/jpeg")
    _, own = await ann.rest.send("GET", "/uploads")
    (seen,) = [one for one in own["uploads"] if one["id"] == turned]
    assert (seen["width"], seen["height"]) == (20, 30)
    (file,) = await ann.addresses(turned)
    small = Image.open(io.BytesIO((await ann.fetch(file["thumbnail_url"])).content))
    assert (small.size, dict(small.getexif())) == ((20, 30), {})


def _lying_on_its_side() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "taken at home"
    return exif.tobytes()


async def test_an_upload_is_its_users_alone(rest: Rest, ann: Sender, ben: Sender):
    room = await rest.room()
    place = await ann.announce(b"secret")
    assert await ben.put(place["id"], 0, b"secret") == (404, "not_found")
    assert await ann.put(place["id"], 0, b"secret") == (200, "")
    for method, path in (("POST", f"/uploads/{place['id']}/complete"), ("DELETE", f"/uploads/{place['id']}")):
        assert await rest.code(method, path, user="ben") == "not_found"
    await rest.send("POST", f"/uploads/{place['id']}/complete")
    await rest.send("POST", f"/rooms/{room}/join", user="ben")
    status, answer = await ben.message(room, place["id"])
    assert (status, answer["error"]["code"]) == (404, "not_found")
    assert await ben.addresses(place["id"]) == []
    assert (await rest.send("GET", "/uploads", user="ben"))[1]["uploads"] == []
    assert (await ann.message(room, place["id"]))[0] == 200


async def test_an_upload_is_attached_to_exactly_one_message(rest: Rest, ann: Sender):
    rooms = [await rest.room(id=f"r{number}") for number in range(3)]
    upload = await ann.upload(b"once")
    answers = await asyncio.gather(*(ann.message(rooms[number % 3], upload, body=str(number)) for number in range(9)))
    assert sorted(status for status, _ in answers) == [200] + [404] * 8
    fields = {"id": "again", "body": "x", "attachments": [await ann.upload(b"twice")]}
    first = await rest.send("POST", f"/rooms/{rooms[0]}/messages", fields)
    assert first == await rest.send("POST", f"/rooms/{rooms[0]}/messages", fields), "a resend is the same message"
    assert first[0] == 200
    ready = await ann.upload(b"x")
    for attached in ([ready, ready], [ready, str(uuid4())], ["x"], [ready] * 11, [upload]):
        status, answer = await rest.send("POST", f"/rooms/{rooms[0]}/messages", {"body": "x", "attachments": attached})
        assert status in {404, 422}, answer
    pending = await ann.announce(b"y")
    assert (await ann.message(rooms[0], pending["id"]))[0] == 404
    assert await rest.code("POST", f"/rooms/{rooms[0]}/messages", {"body": "", "attachments": []}) == "invalid_payload"
    assert await rest.code("DELETE", f"/uploads/{upload}") == "not_found", "a message has it"
    assert (await ann.message(rooms[0], ready))[0] == 200, "what was refused has taken nothing"


async def test_who_left_the_room_gets_nothing_by_a_ticket_from_before(rest: Rest, ann: Sender, ben: Sender):
    room = await rest.room(kind="private")
    await rest.send("POST", f"/rooms/{room}/invite", {"user": {"id": "u_ben"}})
    await rest.send("POST", f"/rooms/{room}/join", user="ben")
    upload = await ann.upload(b"for members")
    await ann.message(room, upload)
    (file,) = await ben.addresses(upload)
    assert (await ben.fetch(file["url"])).content == b"for members"
    await rest.send("POST", f"/rooms/{room}/leave", user="ben")
    assert (await ben.fetch(file["url"])).status_code == 404
    assert await ben.addresses(upload) == []
    assert (await ann.fetch(file["url"].replace("/file", "/thumbnail"))).status_code == 404
    ticket = file["url"].split("/")[3]
    for forged in (ticket[:-2] + "AA", "x", "a" * 5000, "%00"):
        assert (await ben.fetch(f"/api/files/{forged}/file")).status_code == 404
    await rest.send("POST", f"/rooms/{room}/leave")
    (own,) = await ann.addresses(upload)
    assert (await ann.fetch(own["url"])).content == b"for members", "what is one's own one may have"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "..", ".", "a\\b", "a\x00b", "a\nb", "\u202egnp.exe", "", " ", "x" * 256]
)
async def test_names_are_no_paths(rest: Rest, name: str, directory: Path):
    assert await rest.code("POST", "/uploads", announced(b"x", name)) == "invalid_payload"
    assert left(directory) == []


async def test_parts_have_their_place_and_their_size(rest: Rest, ann: Sender, directory: Path):
    place = await ann.announce(b"x" * (2**20 + 5))
    assert (place["parts"], place["part_size"]) == (2, 2**20)
    upload = place["id"]
    for part, size in ((0, 2**20 - 1), (1, 6), (1, 4), (2, 5), (-1, 5)):
        assert await ann.put(upload, part, b"x" * size) == (422, "invalid_payload")
    assert await ann.put(upload, 0, b"x" * (2**20 + 1)) == (422, "invalid_payload")
    assert await ann.put("nonsense", 0, b"x") == (422, "invalid_payload")
    assert await ann.put(upload, 1, b"x" * 5) == (200, "")
    assert await rest.code("POST", f"/uploads/{upload}/complete") == "invalid_payload", "a part is missing"
    assert await ann.put(upload, 0, b"y" * 2**20) == (200, "")
    assert await ann.put(upload, 0, b"x" * 2**20) == (200, ""), "again"
    status, answer = await rest.send("POST", f"/uploads/{upload}/complete")
    assert (status, answer["upload"]["state"]) == (200, "ready")
    assert await rest.send("POST", f"/uploads/{upload}/complete") == (status, answer), "doing it again is harmless"
    assert await ann.put(upload, 0, b"x" * 2**20) == (404, "not_found")


async def test_quotas_are_kept_when_many_announce_at_once(rest: Rest, ann: Sender):
    assert await rest.code("POST", "/uploads", announced(b"x") | {"size": 9 * 2**20}) == "payload_too_large"
    big = announced(b"x") | {"size": 5 * 2**20}
    codes = await asyncio.gather(*(rest.send("POST", "/uploads", big) for _ in range(6)))
    assert sorted(status for status, _ in codes) == [200, 200, 409, 409, 409, 409]
    assert (await rest.send("POST", "/uploads", big, user="ben"))[0] == 200, "others have their own"
    many = await asyncio.gather(*(rest.send("POST", "/uploads", announced(b"x"), user="cid") for _ in range(25)))
    assert sorted(status for status, _ in many) == [200] * uploads.MAX_WAITING + [409] * (25 - uploads.MAX_WAITING)


async def test_what_is_not_attached_in_time_is_removed(rest: Rest, ann: Sender, directory: Path):
    pending, ready = await ann.send(b"pending"), await ann.upload(b"ready")
    dropped, kept = await ann.upload(b"dropped"), await ann.upload(b"kept")
    assert (await rest.send("DELETE", f"/uploads/{dropped}"))[0] == 200
    pool, cleanup = rest.app.state.services.reads, rest.app.state.services.files.cleanup
    await pool.fetch(
        "UPDATE chat.uploads SET expires_at = now() WHERE upload_id = ANY($1)", [UUID(pending), UUID(ready)]
    )
    assert (await ann.message(await rest.room(), ready))[0] == 404, "too late"
    assert await cleanup.look() == 3
    assert left(directory) == [f"{kept}/file"]
    assert await pool.fetchval("SELECT count(*) FROM chat.uploads") == 1
    async with pool.acquire() as connection:
        await erasures.request_user(connection, "u_ann")
    assert await cleanup.look() == 1, "and at once of who is being erased"
    assert left(directory) == []


async def test_files_go_with_their_messages_again_until_they_are_gone(
    database_url: str, nats_url: str, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    directory = tmp_path / "uploads"
    remove = FileCleanup._remove
    failures = [OSError("the disk is away")]

    async def failing(self: FileCleanup, rows: list[Any]) -> None:
        if rows and failures:
            raise failures.pop()
        await remove(self, rows)

    monkeypatch.setattr(FileCleanup, "_remove", failing)
    ledger = tmp_path / "ledger"
    async with running_rest(
        database_url, nats_url, bus, chat_uploads=str(directory), chat_erasure_ledger=ledger
    ) as rest:
        ann, ben = Sender(rest), Sender(rest, "ben")
        room = await rest.room()
        upload = await ann.upload(b"my address")
        await ann.message(room, upload)
        (file,) = await ben.addresses(upload)
        async with rest.app.state.services.reads.acquire() as connection:
            await erasures.request_user(connection, "u_ann")
        assert (await ben.fetch(file["url"])).status_code == 404, "from the request on"
        assert await ann.addresses(upload) == []
        await until(lambda: left(directory) == [], "the bytes are gone, at the second try", 30.0)
        assert failures == []
        reads = rest.app.state.services.reads

        async def forgotten() -> bool:
            return await reads.fetchval("SELECT count(*) FROM chat.uploads") == 0

        await until(forgotten, "and nothing tells of them")


async def test_without_a_place_no_files_are_taken(database_url: str, nats_url: str, bus: Bus):
    async with running_rest(database_url, nats_url, bus) as rest:
        assert await rest.code("POST", "/uploads", announced(b"x")) == "not_found"
        room = await rest.room()
        assert (
            await rest.code("POST", f"/rooms/{room}/messages", {"body": "x", "attachments": [str(uuid4())]})
            == "not_found"
        )


async def test_who_sends_or_fetches_slowly_keeps_nobody_else_out(rest: Rest):
    slow, other = Sender(rest), Sender(rest, "ben")
    data = b"slowly"
    place, quick = await slow.announce(data), await other.announce(data)
    go_on, sending = asyncio.Event(), 0

    async def dripping() -> AsyncIterator[bytes]:
        nonlocal sending
        sending += 1
        yield data[:1]
        await go_on.wait()
        yield data[1:]

    async def drip() -> int:
        headers = {"authorization": "Bearer ann", "content-type": "application/octet-stream"}
        answer = await rest.http.put(f"/api/uploads/{place['id']}/parts/0", content=dripping(), headers=headers)
        return answer.status_code

    dripped = [asyncio.create_task(drip()) for _ in range(uploads.AT_ONCE_EACH)]
    await until(lambda: sending == uploads.AT_ONCE_EACH, "all of these are being sent")
    assert await slow.put(place["id"], 0, data) == (429, "rate_limited")
    assert await other.put(quick["id"], 0, data) == (200, "")
    go_on.set()
    assert await asyncio.gather(*dripped) == [200] * uploads.AT_ONCE_EACH

    files = UUID(await slow.upload(b"fetched")), UUID(await other.upload(b"fetched"))
    fetching = rest.app.state.services.files.downloads
    begun = [await fetching.bytes_of("u_ann", files[0], "file", 0, 6) for _ in range(downloads.AT_ONCE_EACH)]
    for one in begun:
        assert await anext(one) == b"fetched"
    with pytest.raises(Reject, match="at a time"):
        await fetching.bytes_of("u_ann", files[0], "file", 0, 6)
    assert await anext(await fetching.bytes_of("u_ben", files[1], "file", 0, 6)) == b"fetched"
    await begun[0].aclose()
    await fetching.bytes_of("u_ann", files[0], "file", 0, 6)


async def test_who_announces_more_than_their_quota_takes_no_place_of_others(
    database_url: str, nats_url: str, bus: Bus, tmp_path: Path
):
    settings: dict[str, Any] = {"chat_upload_quota": 10, "chat_upload_total": 30}
    async with running_rest(database_url, nats_url, bus, chat_uploads=str(tmp_path / "uploads"), **settings) as rest:
        statuses = [(await rest.send("POST", "/uploads", announced(b"x" * 9)))[0] for _ in range(9)]
        assert statuses == [200, *[409] * 8]
        for other in ("ben", "cid"):
            assert (await rest.send("POST", "/uploads", announced(b"x" * 9), user=other))[0] == 200
        assert (await rest.send("POST", "/uploads", announced(b"x" * 9), user="dan"))[0] == 409, "there is no room"
