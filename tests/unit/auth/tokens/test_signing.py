"""The service's own keys: read from PEM, named by their thumbprint, published without their private half."""

from __future__ import annotations

from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from parley.auth.tokens.signing import InvalidSigningKey, Signer, SigningKey, parse_keys


def test_key_survives_pem_in_an_environment_file() -> None:
    key = SigningKey.of(Ed25519PrivateKey.generate())
    assert parse_keys(key.pem())[0].kid == key.kid
    assert parse_keys(key.pem().replace("\n", "\\n"))[0].kid == key.kid


def test_first_of_several_keys_signs_and_the_others_still_verify() -> None:
    old, new = (SigningKey.of(Ed25519PrivateKey.generate()) for _ in range(2))
    signer = Signer(parse_keys(new.pem() + old.pem()))
    token = signer.sign("u_1", "Alice", [], datetime.now(UTC), 60)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": new.kid, "typ": "JWT"}
    assert signer.public_key(old.kid) is not None


def test_published_keys_verify_and_hold_no_private_part() -> None:
    signer = Signer([SigningKey.of(Ed25519PrivateKey.generate())])
    token = signer.sign("u_1", "Alice", [], datetime.now(UTC), 60)
    (published,) = signer.jwks["keys"]
    assert set(published) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert jwt.decode(token, jwt.PyJWK(published), algorithms=["EdDSA"])["sub"] == "u_1"


def test_thumbprint_is_that_of_rfc_8037() -> None:
    """The example key of RFC 8037, appendix A."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = SigningKey.of(Ed25519PrivateKey.from_private_bytes(seed))
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_anything_else_is_refused() -> None:
    other = rsa.generate_private_key(65537, 2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for wrong in ("", "secret", pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"):
        with pytest.raises(InvalidSigningKey):
            parse_keys(wrong)
