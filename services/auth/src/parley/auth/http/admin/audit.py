"""`/admin/audit`: see who did what, by the page, or all of it as lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel

from parley.auth.components import Current
from parley.auth.http.admin.parameters import NO_NUL, EntryId, Limit
from parley.auth.http.admin.rights import Admin
from parley.auth.moderation import audit
from parley.auth.moderation.audit import AuditEntry, AuditFilter

router = APIRouter(prefix="/admin/audit", tags=["admin"])

JSON_LINES = "application/x-ndjson"
MAX_EXPORT = 1_000_000
"""Entries of one export; the last one's id as `after` gives the next."""

_Text = Annotated[str, Query(max_length=256, pattern=NO_NUL)]
_Moment = Annotated[AwareDatetime | None, Query(description="with a time zone, such as 2026-01-31T00:00:00Z")]


def _filter(
    admin_id: _Text = "", action: _Text = "", target: _Text = "", since: _Moment = None, until: _Moment = None
) -> AuditFilter:
    return AuditFilter(admin_id, action, target, since, until)


Filter = Annotated[AuditFilter, Depends(_filter)]


class AuditPage(BaseModel):
    """Audit entries, newest first; `more` means the last one's id as `before` gives the next page."""

    entries: list[AuditEntry]
    more: bool


@router.get("", summary="What administrators did")
async def list_audit(
    components: Current, _admin: Admin, wanted: Filter, limit: Limit = 50, before: EntryId = None
) -> AuditPage:
    """Audit entries, newest first; of one administrator, action or target, and from `since` to before `until`."""
    async with components.database.autocommit() as connection:
        found = await audit.entries(connection, limit + 1, before, wanted)
    return AuditPage(entries=found[:limit], more=len(found) > limit)


@router.get("/export", summary="The audit log as lines of JSON", response_class=StreamingResponse)
async def export_audit(
    components: Current,
    _admin: Admin,
    wanted: Filter,
    after: Annotated[int, Query(ge=0, lt=2**63, description="id of the last entry that you have")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_EXPORT)] = MAX_EXPORT,
) -> StreamingResponse:
    """Entries, oldest first, each as one line of JSON (`application/x-ndjson`), as many as are asked for.

    It is read in pages: what is added meanwhile is in it, and who is cut off goes on after the last line that they
    have.
    """
    pages = audit.export(components.database, wanted, after, limit)
    # Before the answer begins: in an outage it is a coded error, and not the beginning of nothing.
    first = await anext(pages, b"")

    async def lines() -> AsyncGenerator[bytes]:
        yield first
        async for page in pages:
            yield page

    return StreamingResponse(lines(), media_type=JSON_LINES)
