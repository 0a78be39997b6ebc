"""An adopter's tokens, signed with a secret that both sides know (HS256)."""

from __future__ import annotations

from base64 import urlsafe_b64encode

from jwt import PyJWK
from jwt.algorithms import HMACAlgorithm

from parley.auth.tokens import decoding
from parley.auth.tokens.claims import Claims, ExternalUsers
from parley.auth.tokens.decoding import Unverified, decode

ALGORITHM = "HS256"


class SharedSecret:
    """Takes tokens of HS256, and of one issuer if it is given. Raises `jwt.InvalidKeyError` for what is no secret."""

    may_be_kept = True

    def __init__(self, secret: str, users: ExternalUsers, *, issuer: str = "", audience: str = "") -> None:
        self._key = _shared_key(secret)
        self._users = users
        self._issuer = issuer or None
        self._audience = audience or None

    def takes(self, token: Unverified) -> bool:
        """Return whether its algorithm and its issuer are those of this secret."""
        return token.algorithm == ALGORITHM and (self._issuer is None or token.issuer == self._issuer)

    async def verify(self, token: Unverified) -> Claims:
        """Return its claims. Raises `Reject` with `invalid_token` or `expired_token`."""
        claims = decode(
            token.token, self._key, ALGORITHM, issuer=self._issuer, audience=self._audience, leeway=decoding.LEEWAY
        )
        return self._users.read(claims)


class _PreparedHMAC(HMACAlgorithm):
    """HMAC with a key that was prepared once, which costs more than the signature."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key if isinstance(key, bytes) else super().prepare_key(key)


def _shared_key(secret: str) -> PyJWK:
    """Return the key of the shared secret, for HS256 alone. Raises `jwt.InvalidKeyError` for one that is no secret."""
    algorithm = _PreparedHMAC(HMACAlgorithm.SHA256)
    encoded = urlsafe_b64encode(algorithm.prepare_key(secret)).decode()
    key = PyJWK({"kty": "oct", "k": encoded}, ALGORITHM)
    key.Algorithm = algorithm
    return key
