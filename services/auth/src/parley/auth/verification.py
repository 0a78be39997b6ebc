"""What an access token proves: our own, or an adopter's. Each key is tied to one algorithm before a token is looked at.

The token's header only chooses *which* key must fit; it never chooses how. A key id of ours is only ever checked with
our key, HS256 only with the configured secret, and a published key only with the algorithm it was published for.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt import PyJWK
from jwt.exceptions import ExpiredSignatureError, PyJWTError

from parley.auth import issuer_keys, signing
from parley.auth.issuer_keys import IssuerKeys
from parley.auth.signing import Signer
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
LEEWAY = 5
"""Seconds by which an adopter's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says. `external` tells an adopter's user from one of ours; `issued_at` is in Unix seconds."""

    user_id: str
    name: str
    roles: tuple[str, ...]
    issued_at: float
    external: bool


class Verifier:
    """Checks signature, algorithm, lifetime and claims of any token this deployment accepts."""

    def __init__(
        self, signer: Signer, *, hs256_secret: str, issuer_keys: IssuerKeys | None, audience: str, issuer: str
    ) -> None:
        self._signer = signer
        self._secret = hs256_secret
        self._issuer_keys = issuer_keys
        self._audience = audience or None
        self._issuer = issuer or None

    async def verify(self, token: str) -> Claims:
        """The claims of a valid token. Raises `Reject` with `invalid_token`, `expired_token` or `unavailable`."""
        if len(token) > MAX_TOKEN:
            raise _invalid("it is too long")
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError) as error:
            raise _invalid("it is not a JWT") from error
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if (key := self._signer.public_key(kid)) is not None:
            return self._own(token, key)
        if algorithm == "HS256" and self._secret:
            return self._external(token, self._secret, "HS256")
        if self._issuer_keys is not None and algorithm in issuer_keys.ALGORITHMS:
            published = await self._issuer_keys.get(kid)
            if published is not None:
                return self._external(token, published, published.algorithm_name)
        raise _invalid("no key of this server fits it")

    def _own(self, token: str, key: Ed25519PublicKey) -> Claims:
        # Issued by the database's clock, which may be ahead of this host's.
        claims = _decode(token, key, signing.ALGORITHM, issuer=signing.ISSUER, verify_iat=False)
        return Claims(claims["sub"], claims["name"], tuple(claims["roles"]), claims["iat"], external=False)

    def _external(self, token: str, key: PyJWK | str, algorithm: str) -> Claims:
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
        return Claims(subject, name.strip(), _roles(claims.get("roles", [])), _issued_at(claims), external=True)


def _decode(
    token: str,
    key: Ed25519PublicKey | PyJWK | str,
    algorithm: str,
    *,
    issuer: str | None = None,
    audience: str | None = None,
    leeway: int = 0,
    verify_iat: bool = True,
) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            leeway=leeway,
            options={"require": ["sub", "exp"], "verify_aud": audience is not None, "verify_iat": verify_iat},
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
    return not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)


def _invalid(why: str) -> Reject:
    return Reject(Code.INVALID_TOKEN, f"The access token is not valid: {why}.")
