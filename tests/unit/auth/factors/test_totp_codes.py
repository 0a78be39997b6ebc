"""Codes of authenticator apps, by the vectors of RFC 6238, and none of them twice."""

from __future__ import annotations

from base64 import b32decode, b32encode
from urllib.parse import parse_qs, urlsplit

import pytest
from pyotp.totp import TOTP

from parley.auth.factors.totp_codes import new_secret, provisioning_uri, step_of

SECRET = b32encode(b"12345678901234567890").decode()
VECTORS = {59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037"}
"""Appendix B of RFC 6238, SHA-1, the last six digits."""


@pytest.mark.parametrize(("moment", "code"), VECTORS.items())
def test_the_codes_of_the_standard_are_taken(moment: int, code: str) -> None:
    assert step_of(SECRET, code, moment, 0) == moment // 30


def test_a_code_is_taken_a_step_early_or_late_and_not_two() -> None:
    code = TOTP(SECRET).at(3000)
    assert [step_of(SECRET, code, 3000 + shift * 30, 0) for shift in (-2, -1, 0, 1, 2)] == [None, 100, 100, 100, None]


def test_after_a_code_was_taken_it_and_those_of_before_are_not() -> None:
    for shift in (-1, 0):
        assert step_of(SECRET, TOTP(SECRET).at(3000 + shift * 30), 3000, 100) is None
    assert step_of(SECRET, TOTP(SECRET).at(3030), 3000, 100) == 101


def test_secrets_are_long_and_random_and_apps_can_read_them() -> None:
    secrets = {new_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert {len(b32decode(secret)) for secret in secrets} == {20}
    uri = urlsplit(provisioning_uri(SECRET, "alice&issuer=evil", "Parley"))
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert parse_qs(uri.query) == {"secret": [SECRET], "issuer": ["Parley"]}
