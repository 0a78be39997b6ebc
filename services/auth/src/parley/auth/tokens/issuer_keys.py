"""The public keys of an issuer of tokens, fetched from its JWKS and kept.

They are fetched again every ten minutes beside the work, so that a key its issuer withdrew stops working; an issuer
that hangs or is away holds up nobody whose key is known. Only a token that names an unknown key waits for a fetch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from jwt import PyJWK

from parley.auth.outbound import Outbound, Unanswered
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger

log = get_logger(__name__)

ALGORITHMS = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"))
"""Public-key algorithms only: a published key must never serve as an HMAC secret."""
MAX_AGE = 600.0
"""Seconds after which the keys are fetched again."""
REFETCH_INTERVAL = 10.0
"""Seconds between two fetches, whatever key ids strangers make up, and after one that failed."""


class IssuerKeys:
    """The keys published at one URL. An unknown key id has them fetched again; an outage leaves the known ones."""

    def __init__(self, url: str, outbound: Outbound) -> None:
        self._url = url
        self._outbound = outbound
        self._keys: dict[str, PyJWK] | None = None
        self._tried = float("-inf")
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Keep the keys fresh for as long as the process lives."""
        while True:
            fetched = await self.refresh()
            await asyncio.sleep(MAX_AGE if fetched else REFETCH_INTERVAL)

    async def refresh(self) -> bool:
        """Fetch the keys again, and say whether that went well; those that were known serve on meanwhile."""
        async with self._lock:
            return await self._fetch()

    async def get(self, kid: str) -> PyJWK | None:
        """Return the key of this id, or None. For tokens without one ("") the only key, if there is just one.

        Raises `Reject(unavailable)` when the keys could never be fetched.
        """
        if (key := self._find(kid)) is not None:
            return key
        async with self._lock:
            # Those who waited find the answer, or that it was just asked for.
            if self._find(kid) is None and time.monotonic() - self._tried >= REFETCH_INTERVAL:
                await self._fetch()
        if self._keys is None:
            raise Reject(Code.UNAVAILABLE, "The token issuer's keys cannot be fetched now; try again.")
        return self._find(kid)

    def _find(self, kid: str) -> PyJWK | None:
        keys = self._keys or {}
        if not kid:
            # `kid` is optional (RFC 7515, 4.1.4). To try all keys would let a stranger's token cost a verification
            # each.
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(kid)

    async def _fetch(self) -> bool:
        # Before it is known how it goes: an issuer that is away is asked every few seconds and not for each token.
        self._tried = time.monotonic()
        try:
            # As a whole: a key that is not published any more was withdrawn, and opens nothing from now on.
            self._keys = parse(await self._outbound.get(self._url))
        except (Unanswered, ValueError, RecursionError) as error:  # those of msgspec among them
            log.warning("cannot fetch the issuer's keys", url=self._url, error=f"{type(error).__name__}: {error}")
            return False
        return True


class _KeySet(msgspec.Struct):
    keys: list[Any]


def parse(body: bytes) -> dict[str, PyJWK]:
    """Return the usable keys of a JWKS by their ids. What cannot be used is left out (RFC 7517, 5).

    Raises `ValueError` if it is no key set or none of its keys can be used.
    """
    keys: dict[str, PyJWK] = {}
    for item in msgspec.json.decode(body, type=_KeySet).keys:
        if isinstance(item, dict) and (key := _usable(cast("dict[str, Any]", item))) is not None:
            keys[str(cast("dict[str, Any]", item).get("kid", ""))] = key
    if not keys:
        raise ValueError("no usable key in the key set")
    return keys


def _usable(item: Mapping[str, Any]) -> PyJWK | None:
    try:
        # A key set may hold keys of other kinds and uses, which are no reason to refuse those that serve.
        key = PyJWK(dict(item))
    except Exception:  # noqa: BLE001 - PyJWT and what is below it raise whatever an odd key makes them; others serve
        return None
    # A key for encryption signs nothing (RFC 7517, section 4.2).
    return key if key.algorithm_name in ALGORITHMS and item.get("use", "sig") == "sig" else None
