"""What an HTTP error looks like, in this one place: problem details (RFC 9457), and beside them what acks say as well.

{"type": "urn:parley:error:banned", "title": "This user is banned.", "status": 403, "detail": "Spam",
 "ok": false, "error": {"code": "banned", "message": "Spam", "retryable": false}}
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import JSONResponse

from parley.common.errors import MEANINGS, Code, Reject

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:parley:error:"
"""What a code is put behind, to be the URI that names a kind of problem."""
_CODES = {
    400: Code.INVALID_PAYLOAD,
    408: Code.TIMEOUT,
    413: Code.PAYLOAD_TOO_LARGE,
    429: Code.RATE_LIMITED,
    431: Code.PAYLOAD_TOO_LARGE,
}
"""The codes of what the HTTP server refuses itself."""


def problem(rejection: Reject, status: int | None = None) -> dict[str, Any]:
    """Return the members of an error's body. Without a status it is the one of the code."""
    return {
        "type": f"{TYPE}{rejection.code}",
        "title": MEANINGS[rejection.code].message,
        "status": status or rejection.status,
        "detail": rejection.message,
        "ok": False,
        "error": rejection.as_dict(),
    }


def refusal(status: int, message: str) -> bytes:
    """Return the whole answer to a request that is refused before an app sees it, after which its connection closes."""
    body = msgspec.json.encode(problem(Reject(_CODES[status], message), status))
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
    # `close` is no mere courtesy: the parser has lost its place in what the client sends.
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


def problem_response(
    rejection: Reject, status: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the answer that a rejection is, with the headers that its status asks for."""
    body = problem(rejection, status)
    # A 401 has to say how to authenticate (RFC 9110, 15.5.2).
    added = {"www-authenticate": "Bearer"} if body["status"] == MEANINGS[Code.MISSING_TOKEN].status else {}
    if rejection.code is Code.RATE_LIMITED:
        added["retry-after"] = "1"
    return JSONResponse(body, body["status"], {**added, **(headers or {})}, MEDIA_TYPE)
