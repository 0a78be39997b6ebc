"""What an access token proves, by the first provider that takes it. Each key is tied to one algorithm beforehand.

The token's header and `iss` only choose *which* provider must find it valid; they never choose how. A key id of ours is
only ever checked with our key, HS256 only with a configured secret, and a published key only with the algorithm it was
published for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

from parley.auth.tokens.claims import Claims, invalid
from parley.auth.tokens.decoding import Unverified, unverified

MAX_TOKEN = 8192
"""Characters of a token; longer ones are refused unread."""
MAX_VERIFIED = 10_000
"""Valid tokens remembered until they expire."""


class Provider(Protocol):
    """Somebody whose tokens are accepted: ourselves, a shared secret, an issuer that publishes keys."""

    @property
    def may_be_kept(self) -> bool:
        """Whether what was valid once is so until it expires."""
        ...

    def takes(self, token: Unverified) -> bool:
        """Return whether this provider alone is to judge the token."""
        ...

    async def verify(self, token: Unverified) -> Claims:
        """Return the claims of a valid token.

        Raises `Reject` with `invalid_token`, `expired_token` or `unavailable`.
        """
        ...


class Verifier:
    """Checks signature, algorithm, lifetime and claims of any token this deployment accepts."""

    def __init__(self, providers: Sequence[Provider], now: Callable[[], float] = time.time) -> None:
        """`now` tells the time, in Unix seconds, by which our own tokens were issued: the database's."""
        self._providers = tuple(providers)
        self._now = now
        self._verified: dict[bytes, Claims] = {}

    async def verify(self, token: str) -> Claims:
        """Return the claims of a valid token.

        Raises `Reject` with `invalid_token`, `expired_token` or `unavailable`.
        """
        if len(token) > MAX_TOKEN:
            raise invalid("it is too long")
        # Everybody comes back with the same token when a gateway restarts.
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        if (claims := self._verified.get(digest)) is not None and self._now() < claims.expires_at:
            return claims
        said = unverified(token)
        for provider in self._providers:
            # The first that takes it decides: a token that it finds wrong is not tried with the keys of others.
            if provider.takes(said):
                claims = await provider.verify(said)
                if provider.may_be_kept:
                    self._keep(digest, claims)
                return claims
        raise invalid("no key or issuer of this server fits it")

    def _keep(self, digest: bytes, claims: Claims) -> None:
        # The one that was verified longest ago. What is forgotten is verified anew, which costs a signature.
        while len(self._verified) >= MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = claims
