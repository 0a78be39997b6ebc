"""What docstrings say of events."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_origin


def summary_and_description(text: str | None, event: str) -> dict[str, str]:
    """A docstring's first paragraph as the summary, without a name of the event before it, and the description."""
    first, _, rest = (text or "").strip().partition("\n\n")
    first = " ".join(first.removeprefix(f"`{event}`:").split())
    parts = {"summary": first[:1].upper() + first[1:], "description": rest.strip()}
    return {key: value for key, value in parts.items() if value}


def inner_docstring(kind: Any) -> str | None:
    """What the inside of an envelope says of itself, which is more than what the envelope says."""
    inside = next(iter(get_args(kind)), None) if hasattr(get_origin(kind), "__struct_fields__") else None
    return inspect.cleandoc(inside.__doc__) if hasattr(inside, "__struct_fields__") and inside.__doc__ else None
