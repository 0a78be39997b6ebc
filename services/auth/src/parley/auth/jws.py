"""Signed tokens in their compact form, pure (RFC 7515, sections 5.2 and 7.1): what they hold, and who signed it.

Every connection of a storm has one to be checked. PyJWT does the same in ten times the time, most of it on characters
one by one; it still holds the keys, and checks the signatures that come with them.
"""

from __future__ import annotations

import binascii
import hmac
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

# What base64url has instead of base64's two last characters; those become something that is in neither.
_STANDARD = bytes.maketrans(b"-_+/", b"+/!!")


class InvalidJws(ValueError):
    """No signed token, or not one that this key has signed."""


class SharedSecret(NamedTuple):
    """A key for HS256."""

    secret: bytes


class Header(msgspec.Struct):
    """What a token says of its signature."""

    alg: Any = None
    kid: str = ""
    crit: Any = msgspec.UNSET
    b64: Any = True


class Jws(NamedTuple):
    """A token that nobody has checked yet."""

    header: Header
    payload: bytes
    signed: bytes
    signature: bytes


_headers = msgspec.json.Decoder(Header)
_claims = msgspec.json.Decoder(dict[str, Any])


def read(token: str) -> Jws:
    """Take a token apart. Raises `InvalidJws`."""
    try:
        encoded = token.encode("ascii")
        head, payload, signature = encoded.split(b".")
        header = _headers.decode(_decoded(head))
    except (ValueError, RecursionError) as error:  # those of msgspec and binascii among them
        raise InvalidJws("it is not a JWT") from error
    # What must be understood, and is not, makes it invalid (section 4.1.11); so does a payload elsewhere (RFC 7797).
    if header.crit is not msgspec.UNSET or header.b64 is not True:
        raise InvalidJws("its header has extensions")
    try:
        return Jws(header, _decoded(payload), encoded[: -len(signature) - 1], _decoded(signature))
    except ValueError as error:
        raise InvalidJws("it is not a JWT") from error


def verified_claims(jws: Jws, key: Ed25519PublicKey | PyJWK | SharedSecret, algorithm: str) -> dict[str, Any]:
    """What a token says that this key has signed, by this algorithm and no other. Raises `InvalidJws`."""
    if jws.header.alg != algorithm:
        raise InvalidJws("its algorithm is not that of its key")
    if not _has_signed(key, jws):
        raise InvalidJws("its signature is wrong")
    try:
        return _claims.decode(jws.payload)
    except (ValueError, RecursionError) as error:
        raise InvalidJws("its payload is no JSON object") from error


def _has_signed(key: Ed25519PublicKey | PyJWK | SharedSecret, jws: Jws) -> bool:
    if isinstance(key, SharedSecret):
        return hmac.compare_digest(hmac.digest(key.secret, jws.signed, "sha256"), jws.signature)
    try:
        if isinstance(key, PyJWK):
            return key.Algorithm.verify(jws.signed, key.Algorithm.prepare_key(key.key), jws.signature)
        key.verify(jws.signature, jws.signed)
    except (InvalidSignature, PyJWTError, ValueError, TypeError):
        return False
    return True


def _decoded(part: bytes) -> bytes:
    """Base64url (RFC 4648, section 5); each text in one way only. Some issuers pad it. Raises `ValueError`."""
    bare = part.rstrip(b"=")
    if bare != part and (len(part) % 4 or len(part) - len(bare) > 2):
        raise ValueError("wrong padding")
    standard = bare.translate(_STANDARD) + b"=" * (-len(bare) % 4)
    decoded = binascii.a2b_base64(standard)
    # Characters that do not belong there are passed over by the decoder, and so are bits that have no meaning.
    if binascii.b2a_base64(decoded, newline=False) != standard:
        raise ValueError("not base64url")
    return decoded
