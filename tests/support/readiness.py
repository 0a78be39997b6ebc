"""What a process says of itself at `/readyz`."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit


async def status(url: str) -> int:
    """The status of its answer, or 0 while there is none. Asked for without a library: it is asked all the time."""
    address = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return 0
    try:
        writer.write(f"GET /readyz HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
        # As in `HTTP/1.1 200 OK`.
        return int((await reader.readline()).split()[1])
    except (OSError, IndexError):
        return 0
    finally:
        writer.close()


async def is_ready(url: str) -> bool:
    """Whether it is ready."""
    return await status(url) == 200


async def is_not_ready(url: str) -> bool:
    """Whether it answers that it is not."""
    return await status(url) == 503
