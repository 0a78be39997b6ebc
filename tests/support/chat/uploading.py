"""Files over chat's REST API: sent and fetched as a user, and what is left of them on the disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx

from tests.support.chat.rest_api import Rest


class Sender:
    """Uploads files as a user."""

    def __init__(self, rest: Rest, user: str = "ann") -> None:
        self.rest, self.user = rest, user

    async def announce(
        self, data: bytes, name: str = "a.txt", kind: str = "text/plain", **fields: Any
    ) -> dict[str, Any]:
        status, answer = await self.rest.send("POST", "/uploads", announced(data, name, kind) | fields, user=self.user)
        assert status == 200, answer
        return answer

    async def put(self, upload: str, part: int, data: bytes, user: str = "") -> tuple[int, str]:
        headers = {"authorization": f"Bearer {user or self.user}", "content-type": "application/octet-stream"}
        answer = await self.rest.http.put(f"/api/uploads/{upload}/parts/{part}", content=data, headers=headers)
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    async def send(self, data: bytes, name: str = "a.txt", kind: str = "text/plain") -> str:
        """Announce a file and send all of it."""
        place = await self.announce(data, name, kind)
        for part in range(place["parts"]):
            begin = part * place["part_size"]
            assert await self.put(place["id"], part, data[begin : begin + place["part_size"]]) == (200, "")
        return place["id"]

    async def upload(self, data: bytes, name: str = "a.txt", kind: str = "text/plain") -> str:
        """A complete upload."""
        upload = await self.send(data, name, kind)
        status, answer = await self.rest.send("POST", f"/uploads/{upload}/complete", user=self.user)
        assert status == 200, answer
        assert answer["upload"]["state"] == "ready"
        return upload

    async def refused(self, data: bytes, name: str, kind: str) -> str:
        """The code with which a file is refused that was sent whole."""
        upload = await self.send(data, name, kind)
        code = await self.rest.code("POST", f"/uploads/{upload}/complete", user=self.user)
        assert await self.rest.code("POST", f"/uploads/{upload}/complete", user=self.user) == "not_found", "for good"
        return code

    async def message(self, room: str, *attached: str, body: str = "see") -> tuple[int, dict[str, Any]]:
        fields = {"body": body, "attachments": list(attached)}
        return await self.rest.send("POST", f"/rooms/{room}/messages", fields, user=self.user)

    async def addresses(self, *asked: str) -> list[dict[str, Any]]:
        status, answer = await self.rest.send("POST", "/files", {"uploads": list(asked)}, user=self.user)
        assert status == 200, answer
        return answer["files"]

    async def fetch(self, address: str, **headers: str) -> httpx.Response:
        return await self.rest.http.get(address, headers=headers)


def announced(data: bytes, name: str = "a.txt", kind: str = "text/plain") -> dict[str, Any]:
    return {"name": name, "size": len(data), "type": kind, "sha256": hashlib.sha256(data).hexdigest()}


def left(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
