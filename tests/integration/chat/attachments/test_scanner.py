"""Scanners as ClamAV's daemon and as an HTTP service speak: a file is complete once it was called clean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from parley.chat.attachments.scanner import Scanner
from parley.common.errors import Reject
from tests.support.ports import free_port

BAD = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def clamd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak INSTREAM, as the manual of clamd says."""
    assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
    data = b""
    while size := int.from_bytes(await reader.readexactly(4), "big"):
        data += await reader.readexactly(size)
    found = b"stream: Eicar FOUND\0" if BAD in data else b"stream: OK\0"
    writer.write(b"INSTREAM size limit exceeded. ERROR\0" if len(data) > 100_000 else found)
    await writer.drain()
    writer.close()


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a POST: 204 for what is clean, 406 for what is not."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    data = await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
    status = "500 Broken" if len(data) > 100_000 else "406 Not Acceptable" if BAD in data else "204 No Content"
    writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
    await writer.drain()
    writer.close()


@asynccontextmanager
async def listening(serve: Serve) -> AsyncGenerator[int]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


async def outcome(scanner: Scanner, data: bytes) -> str:
    try:
        await scanner.check(pieces(data), len(data))
    except Reject as rejection:
        return str(rejection.code)
    return "clean"


@pytest.mark.parametrize(("serve", "url"), [(clamd, "clamd://127.0.0.1:{}"), (http, "http://127.0.0.1:{}/scan")])
async def test_what_is_found_is_refused_and_no_answer_is_no_clean_file(serve: Serve, url: str):
    async with listening(serve) as port:
        scanner = Scanner(url.format(port))
        assert await outcome(scanner, b"x" * 5000) == "clean"
        assert await outcome(scanner, b"x" * 5000 + BAD) == "forbidden"
        assert await outcome(scanner, b"x" * 200_000) == "unavailable"
    assert await outcome(Scanner(url.format(free_port())), b"x") == "unavailable"


@pytest.mark.parametrize("url", ["", "ftp://x", "clamd://", "nonsense"])
def test_an_address_that_is_none(url: str):
    with pytest.raises(ValueError, match="SCANNER"):
        Scanner(url)
