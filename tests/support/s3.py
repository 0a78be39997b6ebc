"""As much of S3's HTTP interface as the store of files uses.

It keeps objects in memory and believes every signature.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit


class SmallS3:
    """A server of one bucket."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                method, target, _ = lines[0].split()
                headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:] if line}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append(f"{method} {target}")
                status, more, content = self._answer(method, unquote(urlsplit(target).path), headers, body)
                shown = {"content-length": str(len(content)), **more}
                text = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
                writer.write(f"HTTP/1.1 {status} X\r\n{text}\r\n".encode() + (b"" if method == "HEAD" else content))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any], bytes]:
        if method == "PUT":
            self.objects[path] = body
            return 200, {"etag": _etag(body)}, b""
        if method == "POST":  # several objects are removed at once, and one is so too
            bucket = path.rstrip("/")
            keys = re.findall(r"<Key>(.*?)</Key>", body.decode())
            for key in keys:
                self.objects.pop(f"{bucket}/{key}", None)
            removed = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            return 200, {}, f"<DeleteResult>{removed}</DeleteResult>".encode()
        if (found := self.objects.get(path)) is None:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        shown = {"etag": _etag(found), "last-modified": formatdate(usegmt=True)}
        if asked := headers.get("range"):
            first, last = asked.removeprefix("bytes=").split("-")
            part = found[int(first) : int(last) + 1]
            shown["content-range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(found)}"
            return 206, shown, part
        return 200, shown, found


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@asynccontextmanager
async def running_s3() -> AsyncGenerator[SmallS3]:
    s3 = SmallS3()
    server = await asyncio.start_server(s3.serve, "127.0.0.1", 0)
    s3.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield s3
    finally:
        server.close()
