"""Users as administrators see them, and the query behind that."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import and_, select

from parley.auth.standing import BAN_STANDS, SUSPENSION_STANDS
from parley.auth.tables import bans, suspensions, users


class Ban(BaseModel):
    """A ban that stands."""

    reason: str
    banned_by: str
    created_at: datetime
    expires_at: datetime | None = Field(description="null: for ever")


class Suspension(BaseModel):
    """A suspension that stands: the user reads only."""

    reason: str
    suspended_by: str
    created_at: datetime
    expires_at: datetime | None = Field(description="null: until it is lifted")


class UserDetails(BaseModel):
    """A user as administrators see them."""

    id: str
    username: str | None = Field(description="null for your own users, who log in elsewhere, and for bots")
    name: str
    kind: str = Field(description="`local`, `external` for your own users, or `bot`")
    owner_id: str | None = Field(description="who answers for a bot; null for people")
    roles: list[str]
    created_at: datetime
    revoked_before: datetime | None = Field(description="tokens issued up to here are refused")
    password_change_required: bool = Field(description="whether their password lets in only who then sets another one")
    ban: Ban | None
    suspension: Suspension | None


QUERY = select(
    users,
    bans.c.reason,
    bans.c.banned_by,
    bans.c.created_at.label("banned_at"),
    bans.c.expires_at,
    suspensions.c.reason.label("suspension_reason"),
    suspensions.c.suspended_by,
    suspensions.c.created_at.label("suspended_at"),
    suspensions.c.expires_at.label("suspended_until"),
).select_from(
    users.outerjoin(bans, and_(bans.c.user_id == users.c.id, BAN_STANDS)).outerjoin(
        suspensions, and_(suspensions.c.user_id == users.c.id, SUSPENSION_STANDS)
    )
)
"""Users with the ban and the suspension that stand."""


def fields_of(row: Any) -> dict[str, Any]:
    """Return the fields of `UserDetails` in a row of `QUERY`."""
    ban = row.banned_at and Ban(
        reason=row.reason, banned_by=row.banned_by, created_at=row.banned_at, expires_at=row.expires_at
    )
    suspension = row.suspended_at and Suspension(
        reason=row.suspension_reason,
        suspended_by=row.suspended_by,
        created_at=row.suspended_at,
        expires_at=row.suspended_until,
    )
    own = (
        "id",
        "username",
        "name",
        "kind",
        "owner_id",
        "roles",
        "created_at",
        "revoked_before",
        "password_change_required",
    )
    return {name: getattr(row, name) for name in own} | {"ban": ban, "suspension": suspension}
