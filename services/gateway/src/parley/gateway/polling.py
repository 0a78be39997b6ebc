"""A guard before the polling transport, whose library reads a request's whole body before it looks at its size."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from parley.common.errors import Code, Reject


class BodyLimit:
    """Refuses a request whose body is larger than allowed, or does not say how large it is."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is small enough."""
        if scope["type"] == "http" and scope["method"] != "GET":
            headers = Headers(scope=scope)
            length = headers.get("content-length", "" if "transfer-encoding" in headers else "0")
            if not length.isdecimal() or int(length) > self._max_bytes:
                rejection = Reject(Code.PAYLOAD_TOO_LARGE, f"A request is at most {self._max_bytes} bytes.")
                body = {"ok": False, "error": rejection.as_dict()}
                await JSONResponse(body, status_code=413, headers={"connection": "close"})(scope, receive, send)
                return
        await self._app(scope, receive, send)
