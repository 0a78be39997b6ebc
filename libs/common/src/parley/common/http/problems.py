"""What an HTTP error looks like, in this one place: problem details (RFC 9457), and beside them what acks say as well.

{"type": "urn:parley:error:banned", "title": "This user is banned.", "status": 403, "detail": "Spam",
 "ok": false, "error": {"code": "banned", "message": "Spam", "retryable": false}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from parley.common.errors import MEANINGS, Code, Reject

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:parley:error:"
"""What a code is put behind, to be the URI that names a kind of problem."""


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


def problem_response(
    rejection: Reject, status: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the answer that a rejection is, with the headers that its status asks for."""
    body = problem(rejection, status)
    added = {"www-authenticate": "Bearer"} if body["status"] == MEANINGS[Code.MISSING_TOKEN].status else {}
    if rejection.code is Code.RATE_LIMITED:
        added["retry-after"] = "1"
    return JSONResponse(body, body["status"], {**added, **(headers or {})}, MEDIA_TYPE)
