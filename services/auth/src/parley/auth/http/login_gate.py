"""Refuses logins that are refused anyway, before anything is read of them: a flood of guesses costs little."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from parley.auth.accounts.attempt_counts import Throttled
from parley.auth.components import components_of
from parley.auth.http.device_cookie import genuine_device
from parley.common.errors import Reject

PATH = "/auth/login"


class LoginGate:
    """ASGI middleware in front of the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a login that is refused whatever it says; pass on everything else."""
        if scope["type"] == "http" and scope["path"] == PATH and (refusal := _refusal(scope)) is not None:
            await throttled_response(refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def throttled_response(rejection: Reject) -> JSONResponse:
    """The answer of a rejection, with the time to wait where there is one."""
    headers = {"retry-after": str(rejection.retry_after)} if isinstance(rejection, Throttled) else {}
    return JSONResponse({"ok": False, "error": rejection.as_dict()}, status_code=rejection.status, headers=headers)


def _refusal(scope: Scope) -> Reject | None:
    components = components_of(scope["app"])
    client = scope.get("client")
    cookies = Headers(scope=scope).get("cookie", "")
    return components.accounts.refusal(client[0] if client else "unknown", genuine_device(cookies, components))
