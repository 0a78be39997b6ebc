"""Refuses logins that are refused anyway, before anything else is done for them: a flood of guesses costs little.

First by the address alone, before the body is read, and then by the username: still before the app, which takes several
times as long for a request, and before the database.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.auth.accounts.guessing.attempt_counts import Throttled
from parley.auth.components import Components, components_of
from parley.auth.http.device_cookie import genuine_device
from parley.common.errors import Code, Reject
from parley.common.http.problems import problem_response
from parley.common.nesting import too_deep

PATH = "/auth/login"
MAX_READ = 4096
"""Bytes of a body that are looked at here."""


class _Username(msgspec.Struct):
    username: str


_body = msgspec.json.Decoder(_Username)


class LoginGate:
    """ASGI middleware in front of the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a login that is refused whatever its password is; pass on everything else."""
        # Logins by password alone: registrations, which cost as much, have a limit and places of their own.
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        components = components_of(scope["app"])
        address, cookies = (scope.get("client") or ("unknown",))[0], Headers(scope=scope).get("cookie", "")
        if components.accounts.spares(genuine_device(cookies, components)):
            # For which user it is a proof, only the database says: the app asks, and counts it for what it is.
            await self._app(scope, receive, send)
            return
        refusal = components.accounts.refusal(address)
        if refusal is None:
            received = await _received(receive)
            receive = _again(received, receive)
            refusal = _refusal_of(received, address, components)
        await (self._app if refusal is None else throttled_response(refusal))(scope, receive, send)


def throttled_response(rejection: Reject) -> Response:
    """Return the answer of a rejection that is always worded alike, with the time to wait where there is one."""
    written = _written(rejection.code, rejection.retry_after if isinstance(rejection, Throttled) else 0)
    # Anew for each request: other middleware adds to the headers.
    return Response(written.body, written.status_code, written.headers)


@lru_cache(maxsize=256)
def _written(code: Code, retry_after: int) -> Response:
    # There are few, and to write one takes as long as all else that is done to refuse a guess.
    if retry_after:
        return problem_response(Throttled(retry_after), headers={"retry-after": str(retry_after)})
    return problem_response(Reject(code))


async def _received(receive: Receive) -> list[Message]:
    """Return a body as it comes, up to a bound that no username and password exceed by themselves."""
    # Never more than this: the app has limits of its own, for bodies that are read to their end.
    messages, size = [await receive()], 0
    while messages[-1].get("more_body") and (size := size + len(messages[-1]["body"])) < MAX_READ:
        messages.append(await receive())
    return messages


def _again(received: list[Message], receive: Receive) -> Receive:
    """Return what is received, with the messages that were looked at."""
    looked_at = iter(received)

    async def receive_again() -> Message:
        return next(looked_at, None) or await receive()

    return receive_again


def _refusal_of(received: list[Message], address: str, components: Components) -> Reject | None:
    """Return why a login is refused that can be read; the app refuses the others, in its own words."""
    body = b"".join(message.get("body", b"") for message in received)
    if too_deep(body):
        return None
    try:
        username = _body.decode(body).username
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return components.accounts.refusal_of(username, address)
