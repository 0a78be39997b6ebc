"""What endpoints of the admin API take, said once: ids in paths, pages, reasons and durations."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import Path, Query

from parley.auth.tokens.claims import MAX_SUBJECT
from parley.common.http.bodies import body_of

NO_NUL = r"^[^\x00]*$"
"""Postgres cannot store U+0000 in text."""
CENTURY = 100 * 366 * 86400
MAX_PAGE = 200

UserId = Annotated[str, Path(min_length=1, max_length=MAX_SUBJECT, pattern=NO_NUL)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
EntryId = Annotated[int | None, Query(ge=0, lt=2**63, description="id of the last entry seen")]
Reason = Annotated[str, msgspec.Meta(max_length=500, pattern=NO_NUL, description="told to the user")]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=CENTURY)]
ForHowLong = Annotated[Seconds | None, msgspec.Meta(description="null: for ever")]


class ReasonBody(msgspec.Struct, frozen=True):
    """Why something is done: the user is told it, and the audit log keeps it. It may be left out."""

    reason: Reason = ""


class Restriction(ReasonBody, frozen=True):
    """Why, and for how long; without an end it holds until it is lifted."""

    duration_seconds: ForHowLong = None

    @property
    def duration(self) -> timedelta | None:
        """For how long, or None for ever."""
        return duration(self.duration_seconds)


GivenReason = Annotated[ReasonBody, body_of(ReasonBody)]
GivenRestriction = Annotated[Restriction, body_of(Restriction)]


def duration(seconds: int | None) -> timedelta | None:
    """So many seconds as Postgres takes them."""
    return None if seconds is None else timedelta(seconds=seconds)
