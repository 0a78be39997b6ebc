"""Our own access tokens, signed by one of our keys."""

from __future__ import annotations

from parley.auth.tokens import signing
from parley.auth.tokens.claims import Claims, invalid
from parley.auth.tokens.decoding import Unverified, decode
from parley.auth.tokens.signing import Signer


class OwnTokens:
    """Takes every token that names a key of ours."""

    may_be_kept = True

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def takes(self, token: Unverified) -> bool:
        """Whether it names a key of ours, which nobody else's provider is asked about then."""
        return self._signer.public_key(token.kid) is not None

    async def verify(self, token: Unverified) -> Claims:
        """Its claims. Raises `Reject` with `invalid_token` or `expired_token`."""
        key = self._signer.public_key(token.kid)
        if key is None:
            raise invalid("no key of this server fits it")
        # `iat` is not compared with now: it was issued by the database's clock, which may be ahead of this host's.
        claims = decode(token.token, key, signing.ALGORITHM, issuer=signing.ISSUER)
        return Claims(claims["sub"], claims["name"], tuple(claims["roles"]), claims["iat"], int(claims["exp"]))
