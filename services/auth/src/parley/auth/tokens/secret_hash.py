"""What is kept of the random secrets that are given out: refresh tokens, API keys, login codes and states. Pure."""

from __future__ import annotations

from hashlib import sha256


def secret_hash(secret: str) -> bytes:
    """The hash that is stored of a secret. It has at least 128 random bits, so a plain hash cannot be guessed back."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
