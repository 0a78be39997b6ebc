"""Binary data in the arguments of events and acks: `bytes` in Python, placeholders and attachments on the wire. Pure.

The form on the wire is that of Socket.IO's BINARY_EVENT (Socket.IO v5 protocol, "Packet format"): JSON in which
`{"_placeholder": true, "num": 0}` stands for the first attachment. `extract` makes it, `insert` reads it.

Clients choose how deeply their arguments are nested, so nothing here recurses over them: Python raises `RecursionError`
after about a thousand levels, with a traceback longer than what the client had sent. `insert` asks `nesting.too_deep`
before it decodes, `extract` counts levels while it looks for binary data, and both refuse more than `MAX_DEPTH`.
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
    """Arguments that cannot be sent to a client: nested deeper than `MAX_DEPTH`, or with a placeholder in them already.

    It happens to a service that passes on what a client sent, so that client is told `invalid_payload`.
    """


def extract(args: Iterable[Any]) -> tuple[bytes, tuple[bytes, ...]]:
    """Encode arguments as a JSON array with placeholders, and return it with the binary data that they stand for.

    Raises `Unsendable`, and what msgspec raises for values that it cannot encode.
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
    """Whether there is binary data anywhere. Raises `Unsendable` for arguments that are nested too deeply."""
    # Level by level instead of recursively.
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
        # A placeholder is an object, and so one level deeper than the binary data that it stands for.
        if not inner and not (here and depth == MAX_DEPTH):
            return found
        level = inner
    raise Unsendable(f"nested deeper than {MAX_DEPTH} levels")


def _inside(container: Any) -> Iterable[Any]:
    if isinstance(container, dict):
        return cast("dict[str, Any]", container).values()
    return cast("Iterable[Any]", container)


def _separated(plain: Any) -> tuple[list[Any], tuple[bytes, ...]]:
    """Return a copy with placeholders for binary data, and that data in the order of the placeholders.

    Raises `Unsendable` for a placeholder in the arguments: clients would put an attachment in its place, or fail.
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
            # `ahead` is a stack: reversed, so that attachments are numbered in the order of the JSON.
            ahead.extend((copied, name, field) for name, field in reversed(fields.items()))
        elif isinstance(value, list | tuple):
            items = cast("list[Any]", value)
            holder[place] = copied = [None] * len(items)
            ahead.extend((copied, number, items[number]) for number in reversed(range(len(items))))
        else:
            holder[place] = value
    return outermost[0], tuple(found)


def insert(args: bytes, attachments: tuple[bytes, ...]) -> list[Any]:
    """Decode a JSON array of arguments and put the attachments in the place of their placeholders.

    Raises `ValueError` for arguments that are not JSON, are nested too deeply, or have a placeholder too many.
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
    """Return the number of the attachment that a placeholder stands for; None when the value is not a placeholder."""
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, Any]", value)
    number = fields.get("num")
    return number if fields.get(PLACEHOLDER) is True and type(number) is int else None
