"""What every service's HTTP side shares: coded errors, bearer tokens, a correlation id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from structlog.contextvars import bound_contextvars

from parley.common.errors import Code, Reject
from parley.common.identifiers import uuid7
from parley.common.logs import get_logger

log = get_logger(__name__)

_HTTP_CODES = {401: Code.MISSING_TOKEN, 403: Code.FORBIDDEN, 404: Code.NOT_FOUND, 413: Code.PAYLOAD_TOO_LARGE}
MAX_BODY = 256 * 1024
"""Bytes of a request body; beyond it the request is refused before it is read further."""


def bearer_token(request: Request) -> str:
    """The token of an `Authorization: Bearer` header. Raises `Reject(missing_token)`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Reject(Code.MISSING_TOKEN)
    return token.strip()


def correlation_id(request: Request) -> str:
    """The id that follows this request into logs and log rows: the caller's `X-Request-ID`, or a new one."""
    return request.state.correlation


def install_errors(app: FastAPI, max_body: int = MAX_BODY) -> None:
    """Answer every error as `{"ok": false, "error": {code, message, retryable}}` and tag each request with an id."""

    @app.middleware("http")
    async def correlate(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("x-request-id", "")
        request.state.correlation = (
            given if 0 < len(given) <= 64 and given.isascii() and given.isprintable() else str(uuid7())
        )
        with bound_contextvars(correlation=request.state.correlation):
            length = request.headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > max_body or "transfer-encoding" in request.headers:
                # Chunked bodies have no announced length; nobody needs them for bodies this small.
                response: Response = _error(
                    Reject(Code.PAYLOAD_TOO_LARGE, f"A body is at most {max_body} bytes, with a Content-Length.")
                )
            else:
                response = await call_next(request)
        response.headers["x-request-id"] = request.state.correlation
        return response

    @app.exception_handler(Reject)
    async def rejected(_request: Request, rejection: Reject) -> JSONResponse:
        return _error(rejection)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _error(Reject(Code.INVALID_PAYLOAD, f"{where}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def http_error(_request: Request, error: HTTPException) -> JSONResponse:
        code = _HTTP_CODES.get(error.status_code, Code.INVALID_PAYLOAD)
        body = Reject(code, str(error.detail)).as_dict()
        return JSONResponse({"ok": False, "error": body}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        log.error("request failed", path=request.url.path, exc_info=error)
        return _error(Reject(Code.INTERNAL))

    _ = (correlate, rejected, invalid, http_error, failed)


def _error(rejection: Reject) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if rejection.status == 401 else None
    return JSONResponse({"ok": False, "error": rejection.as_dict()}, status_code=rejection.status, headers=headers)
