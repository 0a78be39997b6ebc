"""The public keys of an adopter's own token issuer, fetched from its JWKS and kept."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import msgspec
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger

log = get_logger(__name__)

ALGORITHMS = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"),
)
"""Public-key algorithms only: a published key must never serve as an HMAC secret."""
MAX_AGE = 600.0
"""Seconds after which the keys are fetched again, so that one the issuer withdrew stops working."""
REFETCH_INTERVAL = 10.0
"""Seconds between two fetches, whatever key ids strangers make up."""
FETCH_TIMEOUT = 3.0
MAX_BYTES = 256 * 1024


class IssuerKeys:
    """The keys published at one URL. An unknown key id has them fetched again; an outage leaves the known ones."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client
        self._keys: dict[str, PyJWK] | None = None
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()

    async def get(self, kid: str) -> PyJWK | None:
        """The key of this id, or None. For tokens without one ("") the only key, if there is just one.

        Raises `Reject(unavailable)` when the keys could never be fetched.
        """
        if time.monotonic() - self._fetched > MAX_AGE or self._find(kid) is None:
            await self._refresh(kid)
        if self._keys is None:
            raise Reject(Code.UNAVAILABLE, "The token issuer's keys cannot be fetched now; try again.")
        return self._find(kid)

    def _find(self, kid: str) -> PyJWK | None:
        keys = self._keys or {}
        if not kid:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(kid)

    async def _refresh(self, kid: str) -> None:
        async with self._lock:
            now = time.monotonic()
            # Those who waited find the answer, or that it was just asked for.
            fresh = now - self._fetched <= MAX_AGE and self._find(kid) is not None
            if fresh or now - self._tried < REFETCH_INTERVAL:
                return
            self._tried = now
            try:
                async with asyncio.timeout(FETCH_TIMEOUT):
                    self._keys = _parse(await self._fetch())
                self._fetched = time.monotonic()
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, msgspec.MsgspecError) as error:
                log.warning("cannot fetch the issuer's keys", url=self._url, error=f"{type(error).__name__}: {error}")

    async def _fetch(self) -> bytes:
        body = bytearray()
        async with self._client.stream("GET", self._url) as response:
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"a key set of more than {MAX_BYTES} bytes")
        return bytes(body)


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _parse(body: bytes) -> dict[str, PyJWK]:
    keys: dict[str, PyJWK] = {}
    for item in msgspec.json.decode(body, type=_KeySet).keys:
        try:
            key = PyJWK(item)
        except PyJWTError:
            continue  # of a kind we do not know; the others still serve
        if key.algorithm_name in ALGORITHMS and item.get("use", "sig") == "sig":
            keys[str(item.get("kid", ""))] = key
    if not keys:
        raise ValueError("no usable key in the key set")
    return keys
