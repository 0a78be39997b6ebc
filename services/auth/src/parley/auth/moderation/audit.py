"""The audit log: which administrator did what to whom."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.tables import audit
from parley.common.wire.identity import Identity


class AuditEntry(BaseModel):
    """One action of an administrator. It is written before the action takes effect outside the database."""

    id: int
    at: datetime
    admin_id: str
    admin_name: str
    action: str
    target: str
    detail: dict[str, Any]
    correlation: str


async def record(
    connection: AsyncConnection, admin: Identity, action: str, target: str, detail: dict[str, Any], correlation: str
) -> None:
    """Write an entry in the caller's transaction, so that an action and its entry exist together or not at all."""
    await connection.execute(
        insert(audit).values(
            admin_id=admin.user_id,
            admin_name=admin.name,
            action=action,
            target=target,
            detail=detail,
            correlation=correlation,
        )
    )


async def has(connection: AsyncConnection, admin: Identity, action: str, target: str) -> bool:
    """Whether this administrator's doing so is in the trail already: the first try of something that is done once."""
    found = select(audit.c.id).where(
        audit.c.action == action, audit.c.target == target, audit.c.admin_id == admin.user_id
    )
    return (await connection.execute(found.limit(1))).first() is not None


async def entries(connection: AsyncConnection, limit: int, before: int | None) -> list[AuditEntry]:
    """Entries with an id below `before`, newest first."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [AuditEntry.model_validate(row) for row in (await connection.execute(query)).mappings()]
