"""The part that the HTTP APIs of all services share: errors with codes, bearer tokens, correlation ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from structlog.contextvars import bound_contextvars

from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger
from parley.common.wire.identifiers import uuid7

log = get_logger(__name__)

# What FastAPI and Starlette refuse by themselves, as codes; the answer then has the code's status.
_HTTP_CODES = {
    401: Code.MISSING_TOKEN,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.NOT_FOUND,
    413: Code.PAYLOAD_TOO_LARGE,
}
MAX_BODY = 256 * 1024
"""Bytes of a request body at most. A longer one is refused before it is read."""
SERVER_ERRORS = 500
LENGTH_REQUIRED = 411
"""HTTP status of a body without a Content-Length (RFC 9110, 15.5.12)."""


def bearer_token(request: Request) -> str:
    """Return the token of an `Authorization: Bearer` header (RFC 6750, section 2.1). Raises `Reject(missing_token)`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Reject(Code.MISSING_TOKEN)
    return token.strip()


def correlation_id(request: Request) -> str:
    """Return the id that marks this request in logs and in the event log: the caller's `X-Request-ID`, or a new one."""
    return request.state.correlation


def install_errors(app: FastAPI, max_body: int = MAX_BODY) -> None:
    """Make an app answer every error as `{"ok": false, "error": {code, message, retryable}}`, and tag each request."""

    @app.middleware("http")
    async def correlate(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        # The caller's id goes into log lines and into the event log, so it has to be short and printable.
        given = request.headers.get("x-request-id", "")
        request.state.correlation = (
            given if 0 < len(given) <= 64 and given.isascii() and given.isprintable() else str(uuid7())
        )
        with bound_contextvars(correlation=request.state.correlation):
            length = request.headers.get("content-length", "0")
            if "transfer-encoding" in request.headers:
                # A chunked body does not say how long it is, so it would have to be read to be refused.
                told = "A body needs a Content-Length here; chunked bodies are not taken."
                response: Response = error_response(Reject(Code.INVALID_PAYLOAD, told), LENGTH_REQUIRED)
            elif not length.isdecimal() or int(length) > max_body:
                response = error_response(Reject(Code.PAYLOAD_TOO_LARGE, f"A body is at most {max_body} bytes."))
            else:
                response = await call_next(request)
        response.headers["x-request-id"] = request.state.correlation
        return response

    @app.exception_handler(Reject)
    async def rejected(_request: Request, rejection: Reject) -> JSONResponse:
        return error_response(rejection)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return error_response(Reject(Code.INVALID_PAYLOAD, f"{where}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def http_error(_request: Request, error: HTTPException) -> JSONResponse:
        server_error = error.status_code >= SERVER_ERRORS
        code = _HTTP_CODES.get(error.status_code, Code.INTERNAL if server_error else Code.INVALID_PAYLOAD)
        response = error_response(Reject(code, str(error.detail)))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        log.error("request failed", path=request.url.path, exc_info=error)
        return error_response(Reject(Code.INTERNAL))

    _ = (correlate, rejected, invalid, http_error, failed)  # only the decorators use them, which no linter sees


def error_response(rejection: Reject, status: int | None = None) -> JSONResponse:
    """The answer to a request that is refused; `status` is that of its code, unless another is given."""
    status = status or rejection.status
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    if rejection.code is Code.RATE_LIMITED:
        headers["retry-after"] = "1"
    return JSONResponse({"ok": False, "error": rejection.as_dict()}, status_code=status, headers=headers)
