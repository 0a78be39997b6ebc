"""Tells from the SQLSTATE of a Postgres error what the caller should do. Pure, so that it fits every driver.

Only a few classes of errors are a statement's own fault. All others come from the server or from the way to it: it is
starting, recovering, read-only, full, out of memory, was told to cancel, or cannot be reached. Then the same statement
may succeed later.
"""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """The cause of a statement's failure, which tells what to do about it."""

    STATEMENT = "statement"
    """The statement cannot be executed with these values; it would fail again."""
    CONFLICT = "conflict"
    """Two transactions were in each other's way, and this one lost; it may be repeated at once."""
    OUTAGE = "outage"
    """Postgres cannot do it now; the client is told `unavailable`."""


_STATEMENT_CLASSES = frozenset(("22", "23", "54"))
"""The classes of data exceptions, of violated constraints, and of exceeded limits such as too long an index row."""
_CONFLICTS = frozenset(("40001", "40P01", "23505"))
"""Serialization failure, deadlock, and a unique key that another transaction was quicker to insert."""
_NO_TEXT = frozenset(("22021", "22P05"))
"""NUL among the signs of a text, and `\\u0000` in JSON."""
_NO_SCHEMA = frozenset(("42P01", "42703", "3F000", "42883"))
"""A table, column, schema or function that does not exist."""


def fault_of_state(state: str | None) -> Fault:
    """Return the cause of an error with this SQLSTATE. None: Postgres was not reached, or its answer was lost."""
    # Before the class of the state: 23505 is a conflict, while class 23 is a statement's fault.
    if state in _CONFLICTS:
        return Fault.CONFLICT
    return Fault.STATEMENT if state and state[:2] in _STATEMENT_CLASSES else Fault.OUTAGE


def refuses_text(state: str | None) -> bool:
    """Whether this SQLSTATE shows that a text was sent which Postgres does not take."""
    return state in _NO_TEXT


def lacks_schema(state: str | None) -> bool:
    """Whether this SQLSTATE shows that the database was not migrated, or not far enough."""
    return state in _NO_SCHEMA
