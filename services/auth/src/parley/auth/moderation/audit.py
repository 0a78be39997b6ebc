"""The audit log: which administrator did what to whom, and what that changed. Entries are added and never changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.database import Database
from parley.auth.tables import audit
from parley.common.wire import subjects
from parley.common.wire.admin import RecordAction
from parley.common.wire.identity import Identity
from parley.framework import Bus

Detail = dict[str, Any]

EXPORT_PAGE = 500
"""Entries that an export reads at a time, so that no statement of it takes long."""


class AuditEntry(BaseModel):
    """One action of an administrator. It is written before the action takes effect outside the database."""

    id: int
    at: datetime
    admin_id: str
    admin_name: str
    action: str = Field(description="such as `user.ban`")
    target: str = Field(description="whom or what: the id of a user, a room, an API key, or a range of addresses")
    detail: Detail = Field(description="what the administrator said, such as a reason")
    before: Detail | None = Field(description="what it was about, as it was; null where there is nothing to compare")
    after: Detail | None = Field(description="and as it became")
    correlation: str
    request_id: str = Field(description="the Idempotency-Key of the request, or empty")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who administrates, by which request: what each entry begins with.

    A request with an id of its client's leaves one entry about each target, however often it is tried.
    """

    identity: Identity
    correlation: str
    request_id: str = ""

    @property
    def user_id(self) -> str:
        """The administrator's user id, by which entries name them whatever they are called later."""
        return self.identity.user_id

    async def record(
        self,
        connection: AsyncConnection,
        action: str,
        target: str,
        detail: Detail | None = None,
        *,
        before: Detail | None = None,
        after: Detail | None = None,
    ) -> bool:
        """Write an entry in the caller's transaction, so that an action and its entry exist together or not at all.

        Whether it is new: False for the retry of a request that has left its entry.
        """
        entry = {
            "admin_id": self.identity.user_id,
            "admin_name": self.identity.name,
            "action": action,
            "target": target,
            "detail": detail or {},
            "before": before,
            "after": after,
            "correlation": self.correlation,
            "request_id": self.request_id,
        }
        # Without what is None: of JSON that would be a null that is stored, and not a value that is missing.
        known = insert(audit).values(**{key: value for key, value in entry.items() if value is not None})
        # The unique index has rows with a request id alone: without one, doing the same twice is two entries.
        return (await connection.execute(known.on_conflict_do_nothing())).rowcount > 0


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are asked for: those that everything that is given applies to."""

    admin_id: str = ""
    action: str = ""
    target: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a query."""
        found: list[ColumnElement[bool]] = []
        if self.admin_id:
            found.append(audit.c.admin_id == self.admin_id)
        if self.action:
            found.append(audit.c.action == self.action)
        if self.target:
            found.append(audit.c.target == self.target)
        if self.since is not None:
            found.append(audit.c.at >= self.since)
        if self.until is not None:
            found.append(audit.c.at < self.until)
        return found


async def start(bus: Bus, database: Database) -> None:
    """Begin to write down what administrators do to rooms through chat, which waits for it before it does that."""

    async def record(done: RecordAction) -> None:
        actor = Actor(done.admin, done.correlation, done.id)
        async with database.transaction() as connection:
            await actor.record(connection, done.action, done.room, done.detail, before=done.before, after=done.after)

    await bus.respond(subjects.AUDIT, RecordAction, record, bus.service)


async def has(connection: AsyncConnection, actor: Actor, action: str, target: str) -> bool:
    """Whether this administrator's doing so is in the trail already: the first try of something that is done once."""
    found = select(audit.c.id).where(
        audit.c.action == action, audit.c.target == target, audit.c.admin_id == actor.user_id
    )
    return (await connection.execute(found.limit(1))).first() is not None


async def entries(
    connection: AsyncConnection, limit: int, before: int | None, wanted: AuditFilter | None = None
) -> list[AuditEntry]:
    """Return entries with an id below `before`, newest first."""
    query = select(audit).where(*(wanted or AuditFilter()).conditions()).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [AuditEntry.model_validate(row) for row in (await connection.execute(query)).mappings()]


async def export(database: Database, wanted: AuditFilter, after: int, limit: int) -> AsyncGenerator[bytes]:
    """Entries with an id above `after`, oldest first, `limit` at most, as lines of JSON, a page of them at a time.

    Raises `Reject` in an outage, before or after what has been given out.
    """
    while limit > 0:
        # By the id, so that an export that breaks off goes on where it was; entries are never changed.
        page = select(audit).where(audit.c.id > after, *wanted.conditions())
        page = page.order_by(audit.c.id).limit(min(limit, EXPORT_PAGE))
        async with database.autocommit() as connection:
            rows = (await connection.execute(page)).mappings().all()
        if not rows:
            return
        # Outside of the connection: a slow reader must not keep one from the others for as long as it reads.
        yield b"".join(AuditEntry.model_validate(row).model_dump_json().encode() + b"\n" for row in rows)
        after, limit = rows[-1]["id"], limit - len(rows)
