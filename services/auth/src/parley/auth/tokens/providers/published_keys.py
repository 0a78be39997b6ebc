"""An adopter's tokens, signed with a key that their issuer publishes (JWKS)."""

from __future__ import annotations

from parley.auth.tokens import decoding
from parley.auth.tokens.claims import Claims, ExternalUsers, invalid
from parley.auth.tokens.decoding import Unverified, decode
from parley.auth.tokens.issuer_keys import ALGORITHMS, IssuerKeys


class PublishedKeys:
    """Takes tokens of the public-key algorithms, and of one issuer if it is given."""

    may_be_kept = False
    """The issuer may withdraw the key."""

    def __init__(self, keys: IssuerKeys, users: ExternalUsers, *, issuer: str = "", audience: str = "") -> None:
        self._keys = keys
        self._users = users
        self._issuer = issuer or None
        self._audience = audience or None

    def takes(self, token: Unverified) -> bool:
        """Return whether its algorithm is one of public keys and its issuer this one."""
        known = isinstance(token.algorithm, str) and token.algorithm in ALGORITHMS
        return known and (self._issuer is None or token.issuer == self._issuer)

    async def verify(self, token: Unverified) -> Claims:
        """Return its claims.

        Raises `Reject` with `invalid_token`, `expired_token`, or `unavailable` without any keys.
        """
        key = await self._keys.get(token.kid)
        if key is None:
            raise invalid("no key of its issuer fits it")
        # By the algorithm that the key was published for, whichever the token names.
        claims = decode(
            token.token, key, key.algorithm_name, issuer=self._issuer, audience=self._audience, leeway=decoding.LEEWAY
        )
        return self._users.read(claims)
