"""What an error of Postgres means for who asked, by its SQLSTATE; pure, so that every driver is read the same way.

Only a few classes of errors are a statement's own fault. All others are the server's or the way's: it is starting,
recovering, read-only, full, out of memory, was told to cancel, or cannot be reached. Nothing is wrong with what was
asked then, and asking again later may succeed.
"""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """Whose fault it is that a statement failed, and so what is to be done."""

    STATEMENT = "statement"
    """What was asked cannot be stored or computed; asked again, it fails again."""
    CONFLICT = "conflict"
    """Two transactions met, and this one lost; it may simply go again."""
    OUTAGE = "outage"
    """Postgres cannot do it now; who asked is told `unavailable`."""


_STATEMENT_CLASSES = frozenset(("22", "23", "54"))
"""Data exceptions, violated constraints, and limits of the program such as too long an index row."""
_CONFLICTS = frozenset(("40001", "40P01", "23505"))
"""Serialization failure, deadlock, and a unique key that another transaction was quicker to insert."""
_NO_SCHEMA = frozenset(("42P01", "42703", "3F000", "42883"))
"""A table, column, schema or function that is not there."""


def fault_of_state(state: str | None) -> Fault:
    """Whose fault an error with this SQLSTATE is; one without a state never reached Postgres, or lost its answer."""
    if state in _CONFLICTS:
        return Fault.CONFLICT
    return Fault.STATEMENT if state and state[:2] in _STATEMENT_CLASSES else Fault.OUTAGE


def lacks_schema(state: str | None) -> bool:
    """Whether this SQLSTATE says that the database was not migrated, or not far enough."""
    return state in _NO_SCHEMA
