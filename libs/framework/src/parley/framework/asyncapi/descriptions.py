"""Summaries and descriptions of events, read from docstrings."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_origin


def summary_and_description(text: str | None, event: str) -> dict[str, str]:
    """Split a docstring into `summary`, its first paragraph, and `description`, the rest; empty ones are left out.

    A prefix with the event's name is cut off the summary, since the page shows the name anyway.
    """
    first, _, rest = (text or "").strip().partition("\n\n")
    first = " ".join(first.removeprefix(f"`{event}`:").split())
    parts = {"summary": first[:1].upper() + first[1:], "description": rest.strip()}
    return {key: value for key, value in parts.items() if value}


def inner_docstring(kind: Any) -> str | None:
    """Return the docstring of the type argument of a generic struct, or None.

    Chat's events are such envelopes: all share one docstring, and the payload inside says what the event means.
    """
    inside = next(iter(get_args(kind)), None) if hasattr(get_origin(kind), "__struct_fields__") else None
    return inspect.cleandoc(inside.__doc__) if hasattr(inside, "__struct_fields__") and inside.__doc__ else None
