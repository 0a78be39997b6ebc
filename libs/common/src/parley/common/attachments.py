"""Binary data in the arguments of events and acks, pure: beside the JSON on the wire, in its place for programs."""

from __future__ import annotations

from typing import Any, cast

import msgspec

PLACEHOLDER = "_placeholder"


def detach(args: tuple[Any, ...]) -> tuple[bytes, tuple[bytes, ...]]:
    """The JSON array of some arguments, with placeholders for the binary data in them, and that data.

    Raises `ValueError` for a placeholder that stands in the arguments already: clients would fall over it.
    """
    found: list[bytes] = []
    plain = msgspec.to_builtins(args, builtin_types=(bytes, bytearray, memoryview), str_keys=True)
    with_placeholders, forged = _detached(plain, found)
    if found and forged:
        raise ValueError(f"arguments with binary data may not hold {PLACEHOLDER!r} themselves")
    return msgspec.json.encode(with_placeholders), tuple(found)


def _detached(value: Any, found: list[bytes]) -> tuple[Any, bool]:
    if isinstance(value, bytes | bytearray | memoryview):
        found.append(bytes(cast("bytes", value)))
        return {PLACEHOLDER: True, "num": len(found) - 1}, False
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        parts = {name: _detached(field, found) for name, field in fields.items()}
        forged = PLACEHOLDER in fields or any(part[1] for part in parts.values())
        return {name: part[0] for name, part in parts.items()}, forged
    if isinstance(value, list | tuple):
        items = [_detached(item, found) for item in cast("list[Any]", value)]
        return [item[0] for item in items], any(item[1] for item in items)
    return value, False


def attach(args: bytes, attachments: tuple[bytes, ...]) -> list[Any]:
    """The arguments of a JSON array, with the attachments where their placeholders stand.

    Raises `ValueError` when it is no JSON or the two do not fit together.
    """
    try:
        decoded: list[Any] = msgspec.json.decode(args)
        return _attached(decoded, attachments) if attachments else decoded
    except (msgspec.DecodeError, UnicodeError, RecursionError, IndexError) as error:
        raise ValueError(f"malformed arguments: {error}") from error


def _attached(value: Any, attachments: tuple[bytes, ...]) -> Any:
    match value:
        case {"_placeholder": True, "num": int(number)}:
            return attachments[number]
        case dict():
            fields = cast("dict[str, Any]", value)
            return {name: _attached(field, attachments) for name, field in fields.items()}
        case list():
            return [_attached(item, attachments) for item in cast("list[Any]", value)]
        case _:
            return value
