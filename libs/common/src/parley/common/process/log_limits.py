"""Limits the size of log lines: what clients send must decide neither how long a line is nor how long it takes. Pure.

`logs.configure` puts `limited` right before the renderer. It turns an exception into a traceback of at most
`MAX_FRAMES` frames, and every other value into a short one, so that a line has about `MAX_LINE` bytes at most, both as
JSON and at a terminal. It must not raise, since it also runs where an error is being logged.
"""

from __future__ import annotations

import json
import reprlib
import sys
import traceback
from collections.abc import Iterable, MutableMapping
from types import TracebackType
from typing import Any, cast

MAX_LINE = 8192
"""Bytes of a line, as JSON."""
MAX_TRACEBACK = 5120
"""Bytes of the traceback in a line."""
MAX_VALUE = 1024
"""Bytes of any other field, the event's own text included."""
MAX_FRAMES = 25
"""Frames of a traceback, of all exceptions in a chain of causes together."""
MAX_ITEMS = 20
"""Items of a list or mapping that is logged as such; a longer one is cut and logged as text."""
_OUTER_FRAMES = 5
"""Frames that are kept from the beginning of a long traceback; the others are its last ones."""
_MAX_CHAIN = 4
"""Exceptions that are shown of one chain of causes."""
_FIRST = frozenset({"event", "level", "logger", "timestamp", "service", "correlation"})
_CUT = "…"
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"

_shortened = reprlib.Repr()
_shortened.maxlevel = 4
_shortened.maxdict = _shortened.maxlist = _shortened.maxtuple = _shortened.maxset = _shortened.maxfrozenset = 8
_shortened.maxstring = _shortened.maxother = 200


def limited(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cut the fields of a log line to their limits; a processor of structlog."""
    error = _exception(event.pop("exc_info", None))
    left = MAX_LINE
    if error is not None:
        event["exception"] = text = cut(format_exception(error), MAX_TRACEBACK)
        left -= _size(text)
    # The text and the time come first, since a line without them would be of no use.
    for name, value in sorted(event.items(), key=lambda field: field[0] not in _FIRST):
        if name == "exception" and error is not None:
            continue
        event[name] = short = _short(value)
        left -= len(name) + _size(short)
        if left < 0 or len(name) > MAX_VALUE:
            # Only reached by code that logs a client's own mapping as fields.
            del event[name]
            event["cut"] = True
    return event


def format_exception(error: BaseException) -> str:
    """Format an exception with its causes, as Python does, but with the inner frames of long tracebacks left out."""
    parts: list[str] = []
    seen: set[int] = set()
    frames = MAX_FRAMES
    current = error
    while True:
        seen.add(id(current))
        lines, shown = _traceback(current.__traceback__, max(frames, 1))
        frames -= shown
        parts.append("".join(["Traceback (most recent call last):\n", *lines] if lines else []) + _described(current))
        if (cause := current.__cause__) is None and not current.__suppress_context__:
            cause = current.__context__
        if cause is None:
            break
        parts.append(_CONTEXT if current.__cause__ is None else _CAUSE)
        if id(cause) in seen or len(seen) == _MAX_CHAIN:
            parts.append(f"{_CUT} earlier exceptions\n")
            break
        current = cause
    return "".join(reversed(parts)).rstrip("\n")


def cut(text: str, limit: int) -> str:
    """Shorten a text to so many bytes of JSON. The middle is cut out: a traceback ends with what went wrong."""
    if len(text) <= limit and _size(text) <= limit:
        return text
    size = limit
    while True:
        short = f"{text[: size // 2]}{_CUT}{text[-(size // 2) :]}"
        if _size(short) <= limit:
            return short
        # Escaped as JSON, one character may take twelve bytes, so the number of characters is found step by step.
        size = size * 2 // 3


def _traceback(trace: TracebackType | None, limit: int) -> tuple[list[str], int]:
    """Return the lines of a traceback, and how many frames they show."""
    frames = sum(1 for _ in traceback.walk_tb(trace))
    if frames <= limit:
        return traceback.extract_tb(trace).format(), frames
    outer = min(_OUTER_FRAMES, limit // 2)
    left_out = f"  {_CUT} {frames - limit} more frames\n"
    # A negative limit takes frames from the end.
    first, last = traceback.extract_tb(trace, outer), traceback.extract_tb(trace, outer - limit)
    return [*first.format(), left_out, *last.format()], limit


def _described(error: BaseException) -> str:
    """Return an exception's name, its text, its notes and, for a group, its exceptions."""
    notes: list[Any] = getattr(error, "__notes__", None) or []
    described = cut("\n".join([f"{_name(error)}: {_text(error)}", *map(str, notes[:_MAX_CHAIN])]), MAX_VALUE)
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for inner in group.exceptions[:_MAX_CHAIN]:
            lines, _ = _traceback(inner.__traceback__, _OUTER_FRAMES)
            text = "".join([*lines, cut(f"{_name(inner)}: {_text(inner)}", MAX_VALUE // 4)])
            described += "".join(f"\n  | {line}" for line in text.splitlines())
    return f"{described}\n"


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it is a stranger's __str__
        return "<its text cannot be made>"


def _exception(given: Any) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return cast("tuple[Any, BaseException | None, Any]", given)[1]
    return sys.exc_info()[1] if given else None


def _short(value: Any) -> Any:
    """Return a value in a form that is short and that JSON can hold."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, str):
        return cut(str(value), MAX_VALUE)
    if isinstance(value, int):
        return value if value.bit_length() <= 128 else f"an integer of {value.bit_length()} bits"
    if _is_small(value):
        return value
    try:
        return cut(_shortened.repr(value), MAX_VALUE)
    except Exception:  # noqa: BLE001 - it is a stranger's __repr__
        return f"<{type(value).__qualname__}>"


def _is_small(value: Any) -> bool:
    """Whether a value is a flat and short list or mapping, which may stay one."""
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        items: Iterable[Any] = [*fields.keys(), *fields.values()] if len(fields) <= MAX_ITEMS // 2 else [value]
    elif isinstance(value, list | tuple):
        sequence = cast("list[Any]", value)
        items = sequence if len(sequence) <= MAX_ITEMS else [value]
    else:
        return False
    return all(
        item is None or isinstance(item, bool | float)
        or (isinstance(item, int) and item.bit_length() <= 64)
        or (isinstance(item, str) and len(item) <= MAX_VALUE // MAX_ITEMS)
        for item in items
    )  # fmt: skip


def _size(value: Any) -> int:
    """Return the length of a value as JSON."""
    return len(json.dumps(value, default=str))
