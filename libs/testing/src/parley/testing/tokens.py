"""Tokens of test users, and the part of auth that believes them without a signature."""

from __future__ import annotations

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from parley.common.errors import Code, Reject
from parley.common.wire.identifiers import uuid7
from parley.common.wire.identity import Authenticate, CheckWelcome, Identity, UnwelcomeUsers


class _Claims(msgspec.Struct):
    sub: str
    name: str
    roles: tuple[str, ...] = ()
    sid: str = ""


def token_for(user: str, name: str | None = None, roles: tuple[str, ...] = (), login: str = "") -> str:
    """Make a token of this user, and of a login if one is named: a JSON Web Token without a valid signature."""
    claims = msgspec.json.encode(_Claims(user, user if name is None else name, tuple(roles), login))
    return f"test.{urlsafe_b64encode(claims).decode()}.unsigned"


async def authenticate(claim: Authenticate) -> Identity:
    """Return the user that a token of `token_for` names, or a new guest. Raises `Reject(invalid_token)`."""
    if claim.guest:
        return Identity(f"guest-{uuid7().hex}", "Guest", (), time.time())
    try:
        claims = msgspec.json.decode(urlsafe_b64decode(claim.token.split(".")[1]), type=_Claims)
    except (IndexError, ValueError, msgspec.DecodeError) as error:
        raise Reject(Code.INVALID_TOKEN) from error
    return Identity(claims.sub, claims.name, claims.roles, time.time(), login=claims.sid)


async def check_welcome(_question: CheckWelcome) -> UnwelcomeUsers:
    """Answer that everybody is still welcome."""
    return UnwelcomeUsers()
