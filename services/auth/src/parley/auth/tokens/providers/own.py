"""Our own access tokens, signed by one of our keys."""

from __future__ import annotations

import time
from collections.abc import Callable

from parley.auth.tokens import signing
from parley.auth.tokens.claims import Claims, invalid
from parley.auth.tokens.decoding import Unverified, decode
from parley.auth.tokens.signing import Signer
from parley.common.errors import Code, Reject


class OwnTokens:
    """Takes every token that names a key of ours."""

    may_be_kept = True

    def __init__(self, signer: Signer, now: Callable[[], float] = time.time) -> None:
        """`now` tells the time by which they were issued, in Unix seconds: the database's."""
        self._signer = signer
        self._now = now

    def takes(self, token: Unverified) -> bool:
        """Return whether it names a key of ours, which nobody else's provider is asked about then."""
        return self._signer.public_key(token.kid) is not None

    async def verify(self, token: Unverified) -> Claims:
        """Return its claims. Raises `Reject` with `invalid_token` or `expired_token`."""
        key = self._signer.public_key(token.kid)
        if key is None:
            raise invalid("no key of this server fits it")
        # Issued by the database's clock, from which this host's may differ by minutes.
        claims = decode(token.token, key, signing.ALGORITHM, issuer=signing.ISSUER, verify_end=False)
        if self._now() >= claims["exp"]:
            raise Reject(Code.EXPIRED_TOKEN)
        scope = claims.get("scope")
        return Claims(
            claims["sub"], claims["name"], tuple(claims["roles"]), claims["iat"], int(claims["exp"]),
            claims.get("sid", ""), None if scope is None else tuple(scope.split()),
        )  # fmt: skip
