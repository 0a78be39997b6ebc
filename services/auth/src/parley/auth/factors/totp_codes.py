"""Codes of authenticator apps (RFC 6238: SHA-1, six digits, 30 s, which is what all apps can do). Pure."""

from __future__ import annotations

import secrets
from base64 import b32encode

from pyotp.totp import TOTP
from pyotp.utils import strings_equal

DIGITS = 6
STEP_SECONDS = 30
WINDOW = 1
"""Steps before and after the present one whose codes are taken: phones are half a minute off, and people slow."""


def new_secret() -> str:
    """Return a secret of 160 bits, in base 32."""
    # As long as the hash (RFC 4226, 4 R6); base 32 is what apps take when somebody types it.
    return b32encode(secrets.token_bytes(20)).decode()


def provisioning_uri(secret: str, username: str, issuer: str) -> str:
    """Return what an app reads from a picture or a link."""
    return TOTP(secret, digits=DIGITS, interval=STEP_SECONDS).provisioning_uri(name=username, issuer_name=issuer)


def step_of(secret: str, code: str, now: float, after: int) -> int | None:
    """Return the step that a code is of, if it is about now and later than the step `after`; else None.

    So no code is taken twice (RFC 6238, 5.2), nor one of before the last one that was.
    """
    totp = TOTP(secret, digits=DIGITS, interval=STEP_SECONDS)
    present = totp.timecode(int(now))
    for step in range(max(present - WINDOW, after + 1), present + WINDOW + 1):
        # Oldest first: a code that is spent moves `after` on, and the next of the same window stays good.
        if strings_equal(code, totp.generate_otp(step)):
            return step
    return None
