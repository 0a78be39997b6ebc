"""What is kept of the random secrets that are given out: refresh tokens, API keys, codes and states. Pure."""

from __future__ import annotations

from hashlib import sha256


def secret_hash(secret: str) -> bytes:
    """The hash that is stored of a secret of more than a hundred random bits: a plain one cannot be guessed back."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
