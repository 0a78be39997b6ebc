"""What auth asks of other servers over HTTP: each answer is bounded in time and in size."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import httpx

TIMEOUT = 3.0
"""Seconds for the whole of an answer."""
MAX_BYTES = 256 * 1024
OK = 200


class Unanswered(Exception):
    """Another server gave no answer that is one: none in time, a broken one, or too much of it."""


class HttpAnswer(NamedTuple):
    """A status and a body."""

    status: int
    body: bytes


class Outbound:
    """Requests to issuers and providers. Redirects are not followed: their addresses are configured or discovered."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, url: str, token: str = "") -> bytes:
        """Return the body of a success. Raises `Unanswered`."""
        answer = await self._ask("GET", url, headers={"authorization": f"Bearer {token}"} if token else {})
        if answer.status != OK:
            raise Unanswered(f"{url} answered {answer.status}")
        return answer.body

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> HttpAnswer:
        """Return whatever is answered to a form. Raises `Unanswered`."""
        return await self._ask("POST", url, headers=headers, form=form)

    async def _ask(
        self, method: str, url: str, *, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        body = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._client.stream(
                    method, url, data=form, headers={"accept": "application/json", **headers}
                ) as response,
            ):
                # Counted as it comes, and decompressed: Content-Length may lie or be missing, and a small body may
                # unpack to gigabytes.
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise Unanswered(f"{url} answered more than {MAX_BYTES} bytes")
                return HttpAnswer(response.status_code, bytes(body))
        # One exception for whatever goes wrong: callers keep what they knew, whether the other server is away or
        # broken.
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            raise Unanswered(f"{url}: {type(error).__name__}: {error}") from error
