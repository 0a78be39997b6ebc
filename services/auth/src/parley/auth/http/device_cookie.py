"""The cookie by which a browser shows that somebody logged in on it before; see `accounts.device_proofs`."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice

from fastapi import Request, Response

from parley.auth.accounts.device_proofs import MAX_AGE
from parley.auth.components import Components
from parley.auth.names import username_key

PATH = "/auth"
PREFIX = "parley_device_"
MAX_COOKIES = 8
"""Cookies of one request that are looked at before it is read."""


def proven_device(request: Request, components: Components, username: str) -> str:
    """What names the device that a request comes from, if a user of this name has logged in on it; else empty."""
    return proven_by(request.headers.get("cookie", ""), components, username)


def proven_by(cookies: str, components: Components, username: str) -> str:
    """The same by a Cookie header."""
    key = username_key(username)
    now = components.clock.now()
    wanted = (proof for name, proof in _shown(cookies) if name == _name(key))
    return next((device for proof in wanted if (device := components.device_proofs.device_of(key, proof, now))), "")


def genuine_device(cookies: str, components: Components) -> str:
    """What names a device of which a Cookie header shows a proof, for whichever user; else empty."""
    now = components.clock.now()
    found = (components.device_proofs.genuine(proof, now) for _, proof in islice(_shown(cookies), MAX_COOKIES))
    return next((device for device in found if device), "")


def _shown(cookies: str) -> Iterator[tuple[str, str]]:
    pairs = (part.strip().partition("=") for part in cookies.split(";"))
    return ((name, value) for name, _, value in pairs if name.startswith(PREFIX))


def remember_device(request: Request, response: Response, components: Components, username: str) -> None:
    """Have the device remember that a user of this name has just logged in on it, unless it does."""
    if proven_device(request, components, username):
        return
    key = username_key(username)
    response.set_cookie(
        _name(key),
        components.device_proofs.make(key, components.clock.now()),
        max_age=MAX_AGE,
        path=PATH,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _name(username: str) -> str:
    # One for each user of a device. Only the number of possible names is bounded by the shortness of the hash.
    return f"{PREFIX}{blake2b(username.encode(), digest_size=4).hexdigest()}"
