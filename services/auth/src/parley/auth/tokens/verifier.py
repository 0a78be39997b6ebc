"""What an access token proves: our own, or an adopter's. Each key is tied to one algorithm before a token is looked at.

The token's header only chooses *which* key must fit; it never chooses how. A key id of ours is only ever checked with
our key, HS256 only with the configured secret, and a published key only with the algorithm it was published for.
"""

from __future__ import annotations

import math
import time
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt import PyJWK
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import ExpiredSignatureError, PyJWTError

from parley.auth.tokens import signing
from parley.auth.tokens.providers import issuer_keys
from parley.auth.tokens.providers.issuer_keys import IssuerKeys
from parley.auth.tokens.signing import Signer
from parley.common.errors import Code, Reject

MAX_TOKEN = 8192
"""Characters of a token; longer ones are refused unread."""
MAX_SUBJECT = 128
MAX_NAME = 128
MAX_ROLES = 32
MAX_ROLE = 64
LOCAL_PREFIX = "u_"
"""Ids of accounts made here begin so, and ids of an adopter's users never do."""
GUEST_PREFIX = "guest:"
MAX_VERIFIED = 10_000
"""Valid tokens remembered until they expire."""
LEEWAY = 5
"""Seconds by which an adopter's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says, with times in Unix seconds."""

    user_id: str
    name: str
    roles: tuple[str, ...]
    issued_at: float
    expires_at: int
    session: str = ""
    """The session that it is of; empty for who has none here."""


class Verifier:
    """Checks signature, algorithm, lifetime and claims of any token this deployment accepts."""

    def __init__(
        self,
        signer: Signer,
        *,
        hs256_secret: str,
        issuer_keys: IssuerKeys | None,
        audience: str,
        issuer: str,
        now: Callable[[], float] | None = None,
    ) -> None:
        """`now` tells the time, in Unix seconds, by which our own tokens were issued: the database's."""
        self._signer = signer
        self._now = now or _host_time
        self._secret = _shared_key(hs256_secret) if hs256_secret else None
        self._issuer_keys = issuer_keys
        self._audience = audience or None
        self._issuer = issuer or None
        self._verified: dict[bytes, Claims] = {}

    async def verify(self, token: str) -> Claims:
        """The claims of a valid token. Raises `Reject` with `invalid_token`, `expired_token` or `unavailable`."""
        if len(token) > MAX_TOKEN:
            raise _invalid("it is too long")
        # Everybody comes back with the same token when a gateway restarts.
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        if (claims := self._verified.get(digest)) is not None and self._now() < claims.expires_at:
            return claims
        header = _header(token)
        if (key := self._signer.public_key(header.kid)) is not None:
            return self._keep(digest, self._own(token, key))
        if header.alg == "HS256" and self._secret is not None:
            return self._keep(digest, self._external(token, self._secret, "HS256"))
        if self._issuer_keys is not None and header.alg in issuer_keys.ALGORITHMS:
            published = await self._issuer_keys.get(header.kid)
            if published is not None:
                # Not kept: the issuer may withdraw the key.
                return self._external(token, published, published.algorithm_name)
        raise _invalid("no key of this server fits it")

    def _keep(self, digest: bytes, claims: Claims) -> Claims:
        while len(self._verified) >= MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = claims
        return claims

    def _own(self, token: str, key: Ed25519PublicKey) -> Claims:
        # Issued by the database's clock, from which this host's may differ by minutes.
        claims = _decode(token, key, signing.ALGORITHM, issuer=signing.ISSUER, own_clock=False)
        if self._now() >= claims["exp"]:
            raise Reject(Code.EXPIRED_TOKEN)
        session = claims.get("sid", "")
        return Claims(claims["sub"], claims["name"], tuple(claims["roles"]), claims["iat"], int(claims["exp"]), session)

    def _external(self, token: str, key: PyJWK, algorithm: str) -> Claims:
        claims = _decode(token, key, algorithm, issuer=self._issuer, audience=self._audience, leeway=LEEWAY)
        subject = claims["sub"]
        if not subject or len(subject) > MAX_SUBJECT or not _is_text(subject):
            raise _invalid(f"`sub` must have 1 to {MAX_SUBJECT} characters")
        if subject.startswith((LOCAL_PREFIX, GUEST_PREFIX)):
            raise _invalid(f"`sub` must not begin with {LOCAL_PREFIX} or {GUEST_PREFIX}")
        name = claims.get("name", subject)
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME or not _is_text(name):
            raise _invalid(f"`name` must have 1 to {MAX_NAME} characters")
        # Without `iat` nobody can tell it was issued after a revocation, so it counts as issued before any.
        roles, expires_at = _roles(claims.get("roles", [])), int(claims["exp"])
        return Claims(subject, name.strip(), roles, _issued_at(claims), expires_at)


def _host_time() -> float:
    return time.time()


class _PreparedHMAC(HMACAlgorithm):
    """HMAC with a key that was prepared once, which costs more than the signature."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key if isinstance(key, bytes) else super().prepare_key(key)


def _shared_key(secret: str) -> PyJWK:
    """The key of the shared secret, for HS256 alone. Raises `jwt.InvalidKeyError` for one that is no secret."""
    algorithm = _PreparedHMAC(HMACAlgorithm.SHA256)
    encoded = urlsafe_b64encode(algorithm.prepare_key(secret)).decode()
    key = PyJWK({"kty": "oct", "k": encoded}, "HS256")
    key.Algorithm = algorithm
    return key


class _Header(msgspec.Struct):
    alg: Any = None
    kid: str = ""


_headers = msgspec.json.Decoder(_Header)


def _header(token: str) -> _Header:
    """What a token says about its key, unverified. All of it is read again, and checked, once the key is chosen."""
    encoded = token.partition(".")[0]
    try:
        return _headers.decode(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError) as error:  # those of base64 and of msgspec among them
        raise _invalid("it is not a JWT") from error


def _decode(
    token: str,
    key: Ed25519PublicKey | PyJWK,
    algorithm: str,
    *,
    issuer: str | None = None,
    audience: str | None = None,
    leeway: int = 0,
    own_clock: bool = True,
) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            leeway=leeway,
            options={
                "require": ["sub", "exp"],
                "verify_aud": audience is not None,
                "verify_iat": own_clock,
                "verify_exp": own_clock,
            },
        )
    except ExpiredSignatureError as error:
        raise Reject(Code.EXPIRED_TOKEN) from error
    except (PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        # PyJWT's own words name the claim at fault; other errors come from malformed claims and say nothing useful.
        raise _invalid(str(error) if isinstance(error, PyJWTError) else "it is malformed") from error


def _roles(claim: Any) -> tuple[str, ...]:
    try:
        roles = msgspec.convert(claim, tuple[str, ...])
    except msgspec.ValidationError as error:
        raise _invalid("`roles` must be a list of strings") from error
    if len(roles) > MAX_ROLES or not all(0 < len(role) <= MAX_ROLE and _is_text(role) for role in roles):
        raise _invalid(f"`roles` must be at most {MAX_ROLES} names of 1 to {MAX_ROLE} characters")
    return roles


def _issued_at(claims: dict[str, Any]) -> float:
    issued = claims.get("iat", 0.0)
    if isinstance(issued, bool) or not isinstance(issued, int | float) or not math.isfinite(issued):
        raise _invalid("`iat` must be a number")
    return float(issued)


def _is_text(text: str) -> bool:
    """Whether Postgres and people can read it: no control characters and no half characters."""
    return text.isprintable() or not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)


def _invalid(why: str) -> Reject:
    return Reject(Code.INVALID_TOKEN, f"The access token is not valid: {why}.")
