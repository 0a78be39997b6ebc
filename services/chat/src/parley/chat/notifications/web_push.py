"""What a push service is sent, pure: a message that only the browser can read, by a sender that it can tell.

The message is encrypted for the browser's key (RFC 8291, RFC 8188), and the request is signed with the server's own
(VAPID, RFC 8292). The push service learns when a browser is pushed to and how much, and nothing of what is said.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAX_PAYLOAD = 3_000
"""Bytes of a message. Push services take 4,096 of it encrypted (RFC 8030, section 7.2)."""
SIGNED_SECONDS = 12 * 3600
"""For how long a signature is good; 24 hours are the most that push services take."""
_CURVE = ec.SECP256R1()


class PushKeyError(ValueError):
    """A key that is none. The text says which and why."""


class BrowserKeys(NamedTuple):
    """The keys of a browser's subscription: its public key as a point, and a secret of 16 bytes."""

    p256dh: bytes
    auth: bytes


class PushRequest(NamedTuple):
    """The headers and the body of a request to a push service."""

    headers: dict[str, str]
    body: bytes


class PushSigner:
    """Signs requests with the server's key, which it is made with: 32 bytes in base64url."""

    def __init__(self, key: str, contact: str) -> None:
        """Raises `PushKeyError` for what is no private key of the curve P-256."""
        try:
            number = int.from_bytes(decode(key), "big")
            self._key = ec.derive_private_key(number, _CURVE)
        except ValueError as error:
            raise PushKeyError(f"the push key is no private key of P-256 in base64url: {error}") from error
        self._contact = contact
        self.public = encode(self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        """What browsers subscribe with (`applicationServerKey`)."""

    def authorization(self, endpoint: str) -> str:
        """Return the header that says who sends to the push service behind an endpoint."""
        parts = urlsplit(endpoint)
        claims = {
            # RFC 8292, section 2: for the origin of one push service, so that none can show the signature to another.
            "aud": f"{parts.scheme}://{parts.netloc}", "exp": int(time.time()) + SIGNED_SECONDS, "sub": self._contact
        }  # fmt: skip
        return f"vapid t={jwt.encode(claims, self._key, 'ES256')}, k={self.public}"


def browser_keys(p256dh: str, auth: str) -> BrowserKeys:
    """Return the keys of a subscription as a browser says them, in base64url. Raises `PushKeyError`."""
    try:
        keys = BrowserKeys(decode(p256dh), decode(auth))
        ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, keys.p256dh)
    except ValueError as error:
        raise PushKeyError(f"p256dh is no public key of P-256 in base64url: {error}") from error
    if len(keys.p256dh) != 65 or len(keys.auth) != 16:
        raise PushKeyError("p256dh is a point of 65 bytes, and auth has 16 bytes")
    return keys


def push_request(
    signer: PushSigner, endpoint: str, keys: BrowserKeys, payload: bytes, *, topic: str, seconds: int, urgent: bool
) -> PushRequest:
    """Return what is sent to an endpoint.

    A message of the same `topic` that was not delivered yet is replaced. After `seconds` it is not delivered any more.
    """
    body: bytes = cast("Any", http_ece).encrypt(
        # RFC 8291, section 3.1: a key pair and a salt of each message's own; only the browser can read it.
        payload, salt=secrets.token_bytes(16), private_key=ec.generate_private_key(_CURVE), dh=keys.p256dh,
        auth_secret=keys.auth, version="aes128gcm",
    )  # fmt: skip
    headers = {
        "authorization": signer.authorization(endpoint),
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
        "content-length": str(len(body)),
        # RFC 8030, sections 5.2 to 5.4.
        "ttl": str(seconds),
        "topic": topic,
        "urgency": "high" if urgent else "normal",
    }
    return PushRequest(headers, body)


def encode(data: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of base64url, with or without padding. Raises `ValueError`."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
