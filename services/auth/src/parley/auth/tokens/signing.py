"""This service's own keys: made or loaded at start, used to sign access tokens, published as a JWKS."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.database import STARTUP_LOCK, Database
from parley.auth.tables import signing_keys

ISSUER = "parley"
ALGORITHM = "EdDSA"
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", re.DOTALL)


class InvalidSigningKey(ValueError):
    """`PARLEY_AUTH_SIGNING_KEY` holds no Ed25519 private key in PEM."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One Ed25519 key pair. `kid` is the key's thumbprint (RFC 7638), so every replica names it alike."""

    kid: str
    private: Ed25519PrivateKey
    jwk: dict[str, str]

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> SigningKey:
        """Name a private key."""
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        # RFC 7638: these members, in this order, without a space.
        members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
        kid = _base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())
        return cls(kid, private, {**members, "kid": kid, "alg": ALGORITHM, "use": "sig"})

    def pem(self) -> str:
        """Return the private key in PEM (PKCS 8, not encrypted)."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Signer:
    """Signs access tokens with its first key and knows the public half of all."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._current = keys[0]
        self._private = [key.private for key in keys]
        self._public = {key.kid: key.private.public_key() for key in keys}
        self.jwks = {"keys": [key.jwk for key in keys]}

    def public_key(self, kid: str) -> Ed25519PublicKey | None:
        """Return the key of this id, if it is one of ours."""
        return self._public.get(kid)

    def derived_keys(self, purpose: bytes) -> list[bytes]:
        """A secret for something else than tokens from each key, so that all replicas have the same without a table."""
        return [
            hashlib.blake2b(key.private_bytes_raw(), digest_size=32, person=purpose[:16]).digest()
            for key in self._private
        ]

    def sign(
        self,
        user_id: str,
        name: str,
        roles: Sequence[str],
        issued_at: datetime,
        ttl: int,
        session: str = "",
        *,
        scopes: Sequence[str] = (),
        actor: str = "",
    ) -> str:
        """Return an access token valid for `ttl` seconds, of a session, or of none.

        With scopes it is good for those alone, and `actor` is who uses it in the user's place (RFC 8693).

        `iat` keeps its fraction (RFC 7519 allows it): a revocation refuses what was issued earlier in the same second
        and not the login that follows it.
        """
        issued = issued_at.timestamp()
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": user_id,
            "name": name,
            "roles": list(roles),
            "iat": issued,
            # In whole seconds: some libraries take nothing else, and a fraction of a second is no matter at the end.
            "exp": int(issued) + ttl,
            # So that two tokens of one moment are two, also for whoever keeps a list of those that were seen.
            "jti": uuid4().hex,
        }
        if session:
            claims["sid"] = session
        if scopes:
            claims["scope"] = " ".join(scopes)
        if actor:
            claims["act"] = {"sub": actor}
        return jwt.encode(claims, self._current.private, ALGORITHM, headers={"kid": self._current.kid})


async def load_signer(pem: str, database: Database) -> Signer:
    """Return the signer on the configured PEM keys, or on the database's, where the first replica to start makes one.

    Raises `InvalidSigningKey`.
    """
    if pem:
        return Signer(parse_keys(pem))
    async with database.transaction() as connection:
        # Of replicas that start together one makes a key, and the others find it.
        await connection.execute(select(func.pg_advisory_xact_lock(STARTUP_LOCK)))
        if stored := await _stored_keys(connection):
            return Signer(stored)
        key = SigningKey.of(Ed25519PrivateKey.generate())
        await connection.execute(insert(signing_keys).values(kid=key.kid, private_key=key.pem()))
        return Signer([key])


async def former_signer(database: Database) -> Signer | None:
    """Return the signer on the database's keys, if there are any: before keys were configured, these were in use."""
    async with database.autocommit() as connection:
        stored = await _stored_keys(connection)
    return Signer(stored) if stored else None


async def _stored_keys(connection: AsyncConnection) -> list[SigningKey]:
    newest_first = select(signing_keys.c.private_key).order_by(signing_keys.c.created_at.desc())
    return [key for text in (await connection.scalars(newest_first)).all() for key in parse_keys(text)]


def parse_keys(text: str) -> list[SigningKey]:
    """Return the keys in one or more PEM blocks. Raises `InvalidSigningKey`."""
    # Environment files often hold a PEM on one line, with \n for its line ends.
    blocks = _PEM.findall(text.replace("\\n", "\n"))
    keys: list[SigningKey] = []
    for block in blocks:
        try:
            private = load_pem_private_key(block.encode(), None)
        except (ValueError, TypeError) as error:
            raise InvalidSigningKey(f"not a private key in PEM: {error}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise InvalidSigningKey("the signing key must be an Ed25519 key: openssl genpkey -algorithm ed25519")
        keys.append(SigningKey.of(private))
    if not keys:
        raise InvalidSigningKey("no PEM block found: openssl genpkey -algorithm ed25519")
    return keys


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
