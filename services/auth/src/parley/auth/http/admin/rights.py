"""Which right each endpoint of the admin API asks for: one table, which every endpoint is checked against.

An endpoint takes `Admin`, which looks itself up here; one that is not in the table is open to nobody.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from parley.auth.components import AnyBearer
from parley.auth.moderation.audit import Actor
from parley.common.errors import Code, Reject
from parley.common.http.api import correlation_id
from parley.common.wire.rights import Right

MAX_REQUEST_ID = 64

RIGHTS: dict[tuple[str, str], Right] = {
    ("GET", "/admin/users"): Right.READ,
    ("GET", "/admin/users/{user_id:path}"): Right.READ,
    ("GET", "/admin/users/{user_id:path}/connections"): Right.READ,
    ("GET", "/admin/users/{user_id:path}/erase"): Right.READ,
    ("GET", "/admin/connections"): Right.READ,
    ("GET", "/admin/gateways"): Right.READ,
    ("GET", "/admin/rooms"): Right.READ,
    ("GET", "/admin/audit"): Right.READ,
    ("GET", "/admin/audit/export"): Right.READ,
    ("GET", "/admin/kicks/{kick_id}"): Right.READ,
    ("GET", "/admin/address-bans"): Right.READ,
    ("GET", "/admin/api-keys"): Right.READ,
    ("POST", "/admin/kicks"): Right.MODERATE,
    ("POST", "/admin/bans"): Right.MODERATE,
    ("DELETE", "/admin/address-bans/{ban_id}"): Right.MODERATE,
    ("POST", "/admin/users/{user_id:path}/suspension"): Right.MODERATE,
    ("DELETE", "/admin/users/{user_id:path}/suspension"): Right.MODERATE,
    ("POST", "/admin/users/{user_id:path}/kick"): Right.MODERATE,
    ("POST", "/admin/users/{user_id:path}/ban"): Right.MODERATE,
    ("POST", "/admin/users/{user_id:path}/unban"): Right.MODERATE,
    ("POST", "/admin/rooms/{room}/close"): Right.MODERATE,
    ("POST", "/admin/users/{user_id:path}/revoke"): Right.OPERATE,
    ("POST", "/admin/users/{user_id:path}/erase"): Right.OPERATE,
    ("DELETE", "/admin/api-keys/{key_id}"): Right.OPERATE,
    ("POST", "/admin/api-keys"): Right.FULL,
    ("POST", "/admin/api-keys/{key_id}/rotate"): Right.FULL,
    ("POST", "/admin/bots"): Right.FULL,
    ("DELETE", "/admin/bots/{bot_id}"): Right.FULL,
    ("PUT", "/admin/users/{user_id:path}/roles"): Right.FULL,
    ("POST", "/admin/users/{user_id:path}/view-token"): Right.FULL,
    ("PUT", "/admin/users/{user_id:path}/password"): Right.FULL,
    ("POST", "/admin/users/{user_id:path}/password-change"): Right.OPERATE,
    ("DELETE", "/admin/users/{user_id:path}/factors"): Right.FULL,
}


async def administrator(
    request: Request,
    identity: AnyBearer,
    key: Annotated[
        str,
        Header(alias="Idempotency-Key", description="a name of this request: a retry leaves no second audit entry"),
    ] = "",
) -> Actor:
    """Return the administrator who sends a request. Raises `Reject` (401 without a token, 403 without the right)."""
    right = RIGHTS.get((request.method, request.scope["route"].path))
    if right is None or not identity.may(right):
        asked = "" if right is None else f" with the right {right.name.lower()}"
        raise Reject(Code.FORBIDDEN, f"Only administrators{asked} may do this.")
    if len(key) > MAX_REQUEST_ID or not ((key.isascii() and key.isprintable()) or not key):
        raise Reject(Code.INVALID_PAYLOAD, f"Idempotency-Key: at most {MAX_REQUEST_ID} printable ASCII characters")
    return Actor(identity, correlation_id(request), key)


Admin = Annotated[Actor, Depends(administrator)]
