"""Has files looked at by a scanner for malware: ClamAV's daemon, or any HTTP service. Without one nothing is scanned.

    clamd://host:3310 or clamd:///run/clamd.sock     ClamAV's INSTREAM
    http://host/path or https://…                    the bytes are POSTed: 2xx is clean, 406 is not

A file is not complete before the scanner has called it clean: while the scanner is away, nobody's files are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpcore

from parley.common.errors import Code, Reject
from parley.common.http.guarded_fetch import plain_backend

SECONDS = 60.0
"""For which a scanner may look at a file."""
UNCLEAN = 406


class Scanner:
    """The scanner that a setting names."""

    def __init__(self, url: str) -> None:
        """Take its address. Raises `ValueError` for one that is none."""
        parts = urlsplit(url)
        if parts.scheme not in {"clamd", "http", "https"} or not (parts.hostname or parts.path):
            raise ValueError("PARLEY_CHAT_UPLOAD_SCANNER is as clamd://host:3310, clamd:///path or https://host/path")
        self._url = url
        self._parts = parts

    async def check(self, pieces: AsyncIterator[bytes], size: int) -> None:
        """Have a file looked at.

        Raises `Reject(forbidden)` if something was found, and `Reject(unavailable)` if there is no answer.
        """
        try:
            async with asyncio.timeout(SECONDS):
                asked = self._clamd(pieces) if self._parts.scheme == "clamd" else self._http(pieces, size)
                clean = await asked
        except (OSError, TimeoutError, asyncio.IncompleteReadError, httpcore.NetworkError, httpcore.ProtocolError,
                httpcore.TimeoutException) as error:  # fmt: skip
            raise Reject(Code.UNAVAILABLE, "The file cannot be scanned now; try again.") from error
        if not clean:
            raise Reject(Code.FORBIDDEN, "The scanner found something in this file.")

    async def _clamd(self, pieces: AsyncIterator[bytes]) -> bool:
        if self._parts.hostname:
            reader, writer = await asyncio.open_connection(self._parts.hostname, self._parts.port or 3310)
        else:
            reader, writer = await asyncio.open_unix_connection(self._parts.path)
        try:
            writer.write(b"zINSTREAM\0")
            async for piece in pieces:
                writer.write(len(piece).to_bytes(4, "big") + piece)
                await writer.drain()
            writer.write(bytes(4))
            await writer.drain()
            answer = (await reader.readuntil(b"\0")).rstrip(b"\0")
        finally:
            writer.close()
        if answer.endswith(b"OK"):
            return True
        if answer.endswith(b"FOUND"):
            return False
        raise OSError(f"clamd: {answer[:100]!r}")

    async def _http(self, pieces: AsyncIterator[bytes], size: int) -> bool:
        headers = [
            ("content-length", str(size)),
            ("content-type", "application/octet-stream"),
            ("host", self._parts.netloc),
        ]
        async with httpcore.AsyncConnectionPool(network_backend=plain_backend()) as pool:
            answer = await pool.request("POST", self._url, headers=headers, content=pieces)
        if answer.status == UNCLEAN:
            return False
        if 200 <= answer.status < 300:
            return True
        raise OSError(f"the scanner answered {answer.status}")
