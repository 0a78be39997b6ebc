"""The part that the HTTP APIs of all services share: errors with codes, bearer tokens, correlation ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from structlog.contextvars import bound_contextvars

from parley.common.errors import Code, Reject
from parley.common.http.problems import problem_response
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


def bearer_token(request: Request) -> str:
    """Return the token of an `Authorization: Bearer` header (RFC 6750, section 2.1). Raises `Reject(missing_token)`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Reject(Code.MISSING_TOKEN)
    return token.strip()


def correlation_id(request: Request) -> str:
    """Return the id that marks this request in logs and in the event log: the caller's `X-Request-ID`, or a new one."""
    return request.state.correlation


def install_errors(
    app: FastAPI, max_body: int = MAX_BODY, *, streamed: Callable[[Request], bool] = lambda _: False
) -> None:
    """Make an app answer every error as `problems` says, take bodies of this size at most, and tag each request.

    The bodies of requests that are `streamed` are left to their endpoints, which bound them.
    """

    @app.middleware("http")
    async def correlate(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        # The caller's id goes into log lines and into the event log, so it has to be short and printable.
        given = request.headers.get("x-request-id", "")
        request.state.correlation = (
            given if 0 < len(given) <= 64 and given.isascii() and given.isprintable() else str(uuid7())
        )
        with bound_contextvars(correlation=request.state.correlation):
            try:
                if not streamed(request):
                    await _bound_body(request, max_body)
                response = await call_next(request)
            except Reject as rejection:
                response = problem_response(rejection)
            except ClientDisconnect:
                # Nobody is there to be answered, and it is nobody's failure here.
                response = problem_response(Reject(Code.INVALID_PAYLOAD, "The body did not come to its end."))
            except Exception as error:
                # Here and not by the framework, whose answer would lack the headers that others add.
                log.error("request failed", path=request.url.path, exc_info=error)
                response = problem_response(Reject(Code.INTERNAL))
        response.headers["x-request-id"] = request.state.correlation
        return response

    @app.exception_handler(Reject)
    async def rejected(_request: Request, rejection: Reject) -> JSONResponse:
        return problem_response(rejection)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        # One of them, in words: all of them would repeat whatever the client sent, at any length.
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem_response(Reject(Code.INVALID_PAYLOAD, f"{where}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def http_error(_request: Request, error: HTTPException) -> JSONResponse:
        server_error = error.status_code >= SERVER_ERRORS
        code = _HTTP_CODES.get(error.status_code, Code.INTERNAL if server_error else Code.INVALID_PAYLOAD)
        response = problem_response(Reject(code, str(error.detail)))
        # `Allow` of a 405 is among them (RFC 9110, 15.5.6).
        response.headers.update(error.headers or {})
        return response

    _ = (correlate, rejected, invalid, http_error)  # only the decorators use them, which no linter sees


async def _bound_body(request: Request, most: int) -> None:
    """Raise `Reject(payload_too_large)` for a longer body: by the length that it has, or in chunks while it comes."""
    too_large = Reject(Code.PAYLOAD_TOO_LARGE, f"A body is at most {most} bytes.")
    if "transfer-encoding" not in request.headers:
        length = request.headers.get("content-length", "0")
        # The server reads no more than a Content-Length says, so it may be believed.
        if not length.isdecimal() or int(length) > most:
            raise too_large
        return
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    # Where the app behind this middleware finds what has been read.
    vars(request)["_body"] = bytes(body)
