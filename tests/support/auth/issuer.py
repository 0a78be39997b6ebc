"""Somebody who signs tokens for users of their own, and what auth makes of them."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from parley.auth.outbound import Outbound
from parley.auth.tokens.claims import ExternalUsers, RoleRule
from parley.auth.tokens.issuer_keys import IssuerKeys
from parley.auth.tokens.providers.own import OwnTokens
from parley.auth.tokens.providers.published_keys import PublishedKeys
from parley.auth.tokens.providers.shared_secret import SharedSecret
from parley.auth.tokens.signing import Signer, SigningKey
from parley.auth.tokens.verifier import Provider, Verifier
from parley.common.errors import Code, Reject

SECRET = "a shared secret of more than 32 bytes"
KEY = SigningKey.of(Ed25519PrivateKey.generate())
SIGNER = Signer([KEY])
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """An adopter's token issuer: publishes keys over HTTP and counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [
            {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa", "alg": "RS256"},
            {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "ec"},
        ]
        self.asked = 0
        self.body: bytes | None = None

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.asked += 1
        body = self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def published(self) -> IssuerKeys:
        return IssuerKeys("http://issuer/jwks", Outbound(httpx.AsyncClient(transport=httpx.ASGITransport(self))))


def verifier(
    keys: IssuerKeys | None = None, *, secret: str = SECRET, audience: str = "", issuer: str = "",
    rule: RoleRule | None = None,
) -> Verifier:  # fmt: skip
    users = ExternalUsers(rule=rule or RoleRule())
    providers: list[Provider] = [OwnTokens(SIGNER)]
    if secret:
        providers.append(SharedSecret(secret, users, audience=audience, issuer=issuer))
    if keys is not None:
        providers.append(PublishedKeys(keys, users, audience=audience, issuer=issuer))
    return Verifier(providers)


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {"sub": "alice@example.com", "name": "Alice", "iat": now, "exp": now + 60, **changed}
    return {name: value for name, value in made.items() if value is not None}


def hs256(**changed: Any) -> str:
    return jwt.encode(claims(**changed), SECRET, "HS256")


def own(ttl: int = 60) -> str:
    return SIGNER.sign("u_1", "Alice", ["admin"], datetime.now(UTC), ttl)


def forged(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


async def code_of(checked: Verifier, token: str) -> Code:
    with pytest.raises(Reject) as rejection:
        await checked.verify(token)
    return rejection.value.code
