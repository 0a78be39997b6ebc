"""Files in a bucket: clients send the bytes there themselves, by a presigned URL, and read them through the server."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image

from parley.common.nats.bus import Bus
from tests.support.chat.rest_api import Rest, running_rest
from tests.support.s3 import SmallS3, running_s3


@pytest.fixture
async def s3(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SmallS3]:
    async with running_s3() as running:
        for name, value in (
            ("AWS_ENDPOINT", running.url), ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-central-1"), ("AWS_ALLOW_HTTP", "true"),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        yield running


async def announce(rest: Rest, data: bytes, kind: str) -> dict[str, Any]:
    asked = {"name": "a", "size": len(data), "type": kind, "sha256": hashlib.sha256(data).hexdigest()}
    status, place = await rest.send("POST", "/uploads", asked)
    assert status == 200, place
    return place


async def test_a_file_goes_by_a_bucket(database_url: str, nats_url: str, bus: Bus, s3: SmallS3):
    async with (
        running_rest(database_url, nats_url, bus, chat_uploads="s3://bucket/files") as rest,
        httpx.AsyncClient() as client,
    ):
        written = io.BytesIO()
        Image.new("RGB", (600, 600), "red").save(written, "PNG")
        data = written.getvalue()
        place = await announce(rest, data, "image/png")
        assert "parts" not in place
        assert "X-Amz-Signature" in place["url"]
        assert await rest.code("POST", f"/uploads/{place['id']}/complete") == "invalid_payload", "nothing was sent"
        assert (await client.put(place["url"], content=data)).status_code == 200
        status, answer = await rest.send("POST", f"/uploads/{place['id']}/complete")
        assert (status, answer["upload"]["width"]) == (200, 600)
        _, found = await rest.send("POST", "/files", {"uploads": [place["id"]]})
        (file,) = found["files"]
        assert (await rest.http.get(file["url"])).content == data
        assert (await rest.http.get(file["url"], headers={"range": "bytes=1-3"})).content == b"PNG"
        assert (await rest.http.get(file["thumbnail_url"])).headers["content-type"] == "image/webp"
        assert sorted(s3.objects) == [f"/bucket/files/{place['id']}/{what}" for what in ("file", "thumbnail")]

        other = await announce(rest, b"text", "text/plain")
        await client.put(other["url"], content=b"much more than was announced")
        assert await rest.code("POST", f"/uploads/{other['id']}/complete") == "invalid_payload"
        state = rest.app.state.services
        await state.reads.fetch("UPDATE chat.uploads SET expires_at = now() WHERE upload_id = $1", UUID(place["id"]))
        assert await state.files.cleanup.look() == 2
        assert s3.objects == {}


async def test_a_bucket_that_is_away_is_an_answer(database_url: str, nats_url: str, bus: Bus, s3: SmallS3):
    async with running_rest(database_url, nats_url, bus, chat_uploads="s3://bucket") as rest:
        place = await announce(rest, b"text", "text/plain")
        s3._answer = lambda *_: (403, {}, b"<Error><Code>AccessDenied</Code></Error>")  # type: ignore[method-assign]
        assert await rest.code("POST", f"/uploads/{place['id']}/complete") == "unavailable"
        row = await rest.app.state.services.reads.fetchrow("SELECT state FROM chat.uploads")
        assert row["state"] == "pending", "it may be tried again"
