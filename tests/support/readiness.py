"""What a process says of itself at `/readyz`."""

from __future__ import annotations

import httpx

from tests.support.clients.plain_http import plain_http


async def status(url: str) -> int:
    """The status of its answer, or 0 while there is none."""
    try:
        async with plain_http() as http:
            return (await http.get(f"{url}/readyz")).status_code
    except httpx.TransportError:
        return 0


async def is_ready(url: str) -> bool:
    """Whether it is ready."""
    return await status(url) == 200


async def is_not_ready(url: str) -> bool:
    """Whether it answers that it is not."""
    return await status(url) == 503
