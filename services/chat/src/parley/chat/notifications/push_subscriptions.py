"""Where the browsers of users are pushed to: subscribing, and ending it."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec

from parley.chat.log.database import Pool, reachable
from parley.chat.notifications.web_push import BrowserKeys, PushKeyError, PushSigner, browser_keys
from parley.common.http.guarded_fetch import MAX_URL, RefusedAddress, check_url, is_public
from parley.framework import Code, Identity, Reject

MAX_SUBSCRIPTIONS = 16
"""Browsers of one user. The one that subscribed the longest ago goes when there is another."""

# An endpoint belongs to who subscribed with it last: another user of the same browser.
_PUT = """
INSERT INTO chat.push_subscriptions (endpoint_hash, user_id, endpoint, p256dh, auth, login, issued_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (endpoint_hash) DO UPDATE
SET user_id = excluded.user_id, p256dh = excluded.p256dh, auth = excluded.auth, login = excluded.login,
  issued_at = excluded.issued_at, created_at = clock_timestamp()
"""
_BOUND = """
DELETE FROM chat.push_subscriptions WHERE endpoint_hash IN (
  SELECT endpoint_hash FROM chat.push_subscriptions WHERE user_id = $1 ORDER BY created_at DESC, endpoint_hash OFFSET $2
)
"""
_REMOVE = "DELETE FROM chat.push_subscriptions WHERE endpoint_hash = $1 AND user_id = $2"
_OF_USER = """
SELECT endpoint, p256dh, auth, login, coalesce(issued_at, extract(epoch FROM created_at)::float8) AS issued_at
FROM chat.push_subscriptions
WHERE user_id = $1 ORDER BY created_at LIMIT $2
"""


class GetPushKey(msgspec.Struct, frozen=True):
    """`push.key`: the key that browsers subscribe with."""


class PushKey(msgspec.Struct, frozen=True):
    """The server's public key in base64url, `applicationServerKey` to a browser."""

    key: str


class SubscriptionKeys(msgspec.Struct, frozen=True):
    """The keys of a browser's subscription, in base64url."""

    p256dh: Annotated[str, msgspec.Meta(max_length=100)]
    auth: Annotated[str, msgspec.Meta(max_length=40)]


class SubscribePush(msgspec.Struct, frozen=True):
    """`push.subscribe`: push to a browser. It is what `PushSubscription.toJSON()` says there."""

    endpoint: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_URL)]
    keys: SubscriptionKeys


class UnsubscribePush(msgspec.Struct, frozen=True):
    """`push.unsubscribe`: do not push to a browser any more."""

    endpoint: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_URL)]


class PushTarget(NamedTuple):
    """A browser that is pushed to."""

    endpoint: str
    keys: BrowserKeys
    issued_at: float
    """When the token was issued by which it subscribed, in Unix seconds."""
    login: str = ""
    """The login or the API key of that token."""


def require_signer(signer: PushSigner | None) -> PushSigner:
    """Return what signs, if Web Push is on. Raises `Reject(not_found)`."""
    if signer is None:
        raise Reject(Code.NOT_FOUND, "Web Push is off: set PARLEY_CHAT_PUSH_KEY.")
    return signer


async def subscribe(pool: Pool, identity: Identity, said: SubscribePush) -> None:
    """Push to a browser while the login stands by which it asks. Raises `Reject` for what cannot be pushed to."""
    _check(said.endpoint)
    try:
        keys = browser_keys(said.keys.p256dh, said.keys.auth)
    except PushKeyError as error:
        raise Reject(Code.INVALID_PAYLOAD, str(error)) from error
    with reachable():
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                _PUT, _hash(said.endpoint), identity.user_id, said.endpoint, *keys, identity.login,
                identity.issued_at or None,
            )  # fmt: skip
            await connection.execute(_BOUND, identity.user_id, MAX_SUBSCRIPTIONS)


async def unsubscribe(pool: Pool, identity: Identity, said: UnsubscribePush) -> None:
    """Do not push to a browser of the user's any more."""
    with reachable():
        await forget(pool, identity.user_id, said.endpoint)


async def forget(pool: Pool, user_id: str, endpoint: str) -> None:
    """Forget a browser of a user's, because it is gone or wants no more."""
    await pool.fetch(_REMOVE, _hash(endpoint), user_id)


async def targets(pool: Pool, user_id: str) -> list[PushTarget]:
    """Return the browsers that a user is pushed to at."""
    rows = await pool.fetch(_OF_USER, user_id, MAX_SUBSCRIPTIONS)
    return [
        PushTarget(row["endpoint"], BrowserKeys(row["p256dh"], row["auth"]), row["issued_at"], row["login"])
        for row in rows
    ]


def _check(endpoint: str) -> None:
    """Refuse an endpoint that is never asked. What a name stands for is looked at when it is, each time."""
    try:
        check_url(endpoint, ("https",))
    except RefusedAddress as error:
        raise Reject(Code.INVALID_PAYLOAD, f"The endpoint cannot be pushed to: {error}.") from error
    host = (urlsplit(endpoint).hostname or "").removesuffix(".")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # A name ends in no number: what does is an IPv4 address in one of its other spellings, as 127.1.
        last = host.rpartition(".")[2]
        if "." not in host or last in {"localhost", "local", "internal"} or last[:1].isdigit():
            raise Reject(Code.INVALID_PAYLOAD, "The endpoint is not on the public internet.") from None
        return
    if not is_public(host):
        raise Reject(Code.INVALID_PAYLOAD, "The endpoint is not on the public internet.")


def _hash(endpoint: str) -> bytes:
    return hashlib.sha256(endpoint.encode()).digest()
