"""The cookie by which a browser shows that somebody logged in on it before; see `accounts.device_proofs`."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice

from fastapi import Request, Response

from parley.auth.accounts.guessing.device_proofs import MAX_AGE
from parley.auth.components import Components

PATH = "/auth"
PREFIX = "parley_device_"
MAX_COOKIES = 8
"""Cookies of one request that are looked at before it is read."""


def proven_device(request: Request, components: Components, user_id: str) -> str:
    """Return what names the device that a request comes from, if this user has logged in on it; else empty."""
    now = components.clock.now()
    wanted = (proof for name, proof in _shown(_cookies_of(request)) if name == _name(user_id))
    return next((device for proof in wanted if (device := components.device_proofs.device_of(user_id, proof, now))), "")


async def device_for(request: Request, components: Components, username: str) -> str:
    """Return the same for who has a username, if anybody does.

    Whose it is, is looked up for devices that show a genuine proof alone: a flood of guesses must not reach the
    database before its turn. Raises `Reject` in an outage.
    """
    if not genuine_device(_cookies_of(request), components):
        return ""
    user_id = await components.accounts.id_of(username)
    return proven_device(request, components, user_id) if user_id is not None else ""


def genuine_device(cookies: str, components: Components) -> str:
    """Return what names a device of which a Cookie header shows a proof, for whichever user; else empty."""
    now = components.clock.now()
    found = (components.device_proofs.genuine(proof, now) for _, proof in islice(_shown(cookies), MAX_COOKIES))
    return next((device for device in found if device), "")


def remember_device(request: Request, response: Response, components: Components, user_id: str) -> None:
    """Have the device remember that this user has just logged in on it, unless it does."""
    if proven_device(request, components, user_id):
        return
    response.set_cookie(
        _name(user_id),
        components.device_proofs.make(user_id, components.clock.now()),
        max_age=MAX_AGE,
        path=PATH,
        secure=request.url.scheme == "https",
        httponly=True,
        # Strict: a page of somebody else has no need to show that its visitor was here.
        samesite="strict",
    )


def _cookies_of(request: Request) -> str:
    return request.headers.get("cookie", "")


def _shown(cookies: str) -> Iterator[tuple[str, str]]:
    pairs = (part.strip().partition("=") for part in cookies.split(";"))
    return ((name, value) for name, _, value in pairs if name.startswith(PREFIX))


def _name(user_id: str) -> str:
    # One for each user of a device. Only the number of possible names is bounded by the shortness of the hash.
    return f"{PREFIX}{blake2b(user_id.encode(), digest_size=4).hexdigest()}"
