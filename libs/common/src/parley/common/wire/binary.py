"""Binary data in the arguments of events and acks, pure: on the wire beside the JSON, for programs in its place.

Clients decide how deeply their arguments are nested, so nothing here recurses over them: Python's stack would end in a
`RecursionError` after about a thousand levels, and its traceback would be longer than what the client had sent.
`nesting.too_deep` looks at the JSON before it is decoded; `extract` counts levels while it looks for binary data. Both
refuse what is nested deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from parley.common.nesting import MAX_DEPTH, too_deep

PLACEHOLDER = "_placeholder"

_BINARY = (bytes, bytearray, memoryview)
_CONTAINERS = (dict, list, tuple)


class Unsendable(ValueError):
    """Arguments that no client may be sent: nested deeper than `MAX_DEPTH`, or with a placeholder in them already.

    A service meets this when it passes on what a client sent, so it is the client that is told: `invalid_payload`.
    """


def extract(args: Iterable[Any]) -> tuple[bytes, tuple[bytes, ...]]:
    """Encode arguments as a JSON array in which placeholders stand for binary data; return it and that data.

    Raises `Unsendable`, and what msgspec raises for what it cannot encode.
    """
    try:
        plain = msgspec.to_builtins(tuple(args), builtin_types=_BINARY, str_keys=True, enc_hook=_decoded_raw)
    except RecursionError as error:
        raise Unsendable(f"nested deeper than {MAX_DEPTH} levels, or inside itself") from error
    if not _holds_binary(plain):
        return msgspec.json.encode(plain), ()
    with_placeholders, found = _separated(plain)
    return msgspec.json.encode(with_placeholders), found


def _decoded_raw(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    raise TypeError(f"objects of type {type(value).__qualname__} cannot be sent")


def _holds_binary(plain: Any) -> bool:
    """Whether there is binary data anywhere. Raises `Unsendable` when it is nested too deeply."""
    found = False
    level: list[Any] = [plain]
    for depth in range(1, MAX_DEPTH + 1):
        inner: list[Any] = []
        here = False
        for container in level:
            for value in _inside(container):
                if isinstance(value, _CONTAINERS):
                    inner.append(value)
                elif isinstance(value, _BINARY):
                    here = True
        found = found or here
        # The placeholder that will stand for binary data is an object and so another level.
        if not inner and not (here and depth == MAX_DEPTH):
            return found
        level = inner
    raise Unsendable(f"nested deeper than {MAX_DEPTH} levels")


def _inside(container: Any) -> Iterable[Any]:
    if isinstance(container, dict):
        return cast("dict[str, Any]", container).values()
    return cast("Iterable[Any]", container)


def _separated(plain: Any) -> tuple[list[Any], tuple[bytes, ...]]:
    """A copy with placeholders for binary data, and that data in the order in which it stands in the JSON.

    Raises `Unsendable` for a placeholder that stands there already: clients would fall over it.
    """
    found: list[bytes] = []
    outermost: list[Any] = [None]
    ahead: list[tuple[Any, Any, Any]] = [(outermost, 0, plain)]
    while ahead:
        holder, place, value = ahead.pop()
        if isinstance(value, _BINARY):
            holder[place] = {PLACEHOLDER: True, "num": len(found)}
            found.append(bytes(cast("bytes", value)))
        elif isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            if PLACEHOLDER in fields:
                raise Unsendable(f"arguments with binary data may not hold {PLACEHOLDER!r} themselves")
            holder[place] = copied = dict.fromkeys(fields)
            # Last in, first out: reversed, so that the data is numbered in the order of the JSON.
            ahead.extend((copied, name, field) for name, field in reversed(fields.items()))
        elif isinstance(value, list | tuple):
            items = cast("list[Any]", value)
            holder[place] = copied = [None] * len(items)
            ahead.extend((copied, number, items[number]) for number in reversed(range(len(items))))
        else:
            holder[place] = value
    return outermost[0], tuple(found)


def insert(args: bytes, attachments: tuple[bytes, ...]) -> list[Any]:
    """Decode a JSON array of arguments and put the attachments where their placeholders stand.

    Raises `ValueError` when it is no JSON, is nested too deeply, or the two do not fit together.
    """
    if too_deep(args):
        raise ValueError(f"malformed arguments: nested deeper than {MAX_DEPTH} levels")
    try:
        decoded: list[Any] = msgspec.json.decode(args)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"malformed arguments: {error}") from error
    if attachments:
        _replace_placeholders(decoded, attachments)
    return decoded


def _replace_placeholders(decoded: list[Any], attachments: tuple[bytes, ...]) -> None:
    ahead: list[Any] = [decoded]
    while ahead:
        holder: dict[Any, Any] | list[Any] = ahead.pop()
        places: Iterable[Any] = list(holder) if isinstance(holder, dict) else range(len(holder))
        for place in places:
            value: Any = holder[place]
            number = _number(value)
            if number is None:
                if isinstance(value, dict | list):
                    ahead.append(value)
            elif 0 <= number < len(attachments):
                holder[place] = attachments[number]
            else:
                raise ValueError(f"malformed arguments: there is no attachment {number}")


def _number(value: Any) -> int | None:
    """Which attachment a value stands for; None when it is no placeholder."""
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, Any]", value)
    number = fields.get("num")
    return number if fields.get(PLACEHOLDER) is True and type(number) is int else None
