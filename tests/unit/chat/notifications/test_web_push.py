"""What a push service is sent: readable by the browser alone, signed by the server, within its bounds."""

from __future__ import annotations

import secrets
import time
from typing import Any, cast

import http_ece
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from parley.chat.notifications.web_push import (
    BrowserKeys,
    PushKeyError,
    PushSigner,
    browser_keys,
    decode,
    encode,
    push_request,
)

KEY = encode((7).to_bytes(32, "big"))


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def test_only_the_browser_can_read_a_message_and_everybody_who_sent_it():
    browser, secret = ec.generate_private_key(ec.SECP256R1()), secrets.token_bytes(16)
    signer = PushSigner(KEY, "mailto:a@b.example")
    endpoint = "https://push.example/v1/abc"
    keys = browser_keys(encode(point(browser)), encode(secret))
    request = push_request(signer, endpoint, keys, b"hello", topic="t", seconds=60, urgent=True)
    read = cast("Any", http_ece).decrypt(request.body, private_key=browser, auth_secret=secret, version="aes128gcm")
    assert read == b"hello"
    with pytest.raises(Exception, match=r".*"):
        cast("Any", http_ece).decrypt(
            request.body, private_key=ec.generate_private_key(ec.SECP256R1()), auth_secret=secret, version="aes128gcm"
        )
    assert {name: request.headers[name] for name in ("ttl", "topic", "urgency", "content-encoding")} == {
        "ttl": "60", "topic": "t", "urgency": "high", "content-encoding": "aes128gcm",
    }  # fmt: skip
    scheme, _, rest = request.headers["authorization"].partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    assert (scheme, parts["k"]) == ("vapid", signer.public)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(parts["k"]))
    claims = jwt.decode(parts["t"], public, ["ES256"], audience="https://push.example")
    assert claims["sub"] == "mailto:a@b.example"
    assert time.time() < claims["exp"] <= time.time() + 24 * 3600


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [
        ("", encode(bytes(16))),
        ("not base64!", encode(bytes(16))),
        (encode(b"\x04" + bytes(64)), encode(bytes(16))),  # on no curve
        (encode(bytes(65)), encode(bytes(16))),
        (encode(point(ec.generate_private_key(ec.SECP256R1()))), encode(bytes(15))),
        (encode(point(ec.generate_private_key(ec.SECP256R1()))), "é"),
    ],
    ids=["none", "no base64", "on no curve", "zeros", "short", "no ASCII"],
)
def test_keys_of_no_browser_are_refused(p256dh: str, auth: str):
    with pytest.raises(PushKeyError):
        browser_keys(p256dh, auth)


@pytest.mark.parametrize("key", ["", "x", encode(bytes(32)), encode(b"\xff" * 32), encode(bytes(31)) + "!"])
def test_a_server_key_that_is_none_is_refused(key: str):
    with pytest.raises(PushKeyError):
        PushSigner(key, "")


def test_a_key_is_read_with_and_without_padding():
    assert decode("AQ") == decode("AQ==") == b"\x01"
    assert isinstance(
        browser_keys(encode(point(ec.generate_private_key(ec.SECP256R1()))) + "=", encode(bytes(16))), BrowserKeys
    )
