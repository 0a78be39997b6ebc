"""Reads JSON of clients, over sockets and HTTP alike: strictly, but with `1.0` as the integer that it is. Pure.

JSON does not tell `1.0` from `1` (RFC 8259, section 6), and serializers of some languages write the former. `true` and
`"1"` are not numbers.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar, cast

import msgspec

from parley.common.errors import Code, Reject
from parley.common.nesting import MAX_DEPTH, too_deep

T = TypeVar("T")

MAX_EXACT = 2.0**53
"""Up to here every whole number has a float of its own; larger floats stay floats, since they may be rounded."""


def decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decode JSON whose nesting was checked before (`nesting.too_deep`). Raises what msgspec raises."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        if not any(mark in data for mark in (b".", b"e", b"E")):
            raise
        # Rare enough to be decoded twice, so that integers written as such cost nothing more.
        return msgspec.convert(whole_numbers(msgspec.json.decode(data)), decoder.type)


def convert(value: Any, kind: Any) -> Any:
    """Convert decoded JSON, which may hold `bytes`, to a type. Raises `msgspec.ValidationError`."""
    try:
        return msgspec.convert(value, kind, builtin_types=(bytes,))
    except msgspec.ValidationError:
        return msgspec.convert(whole_numbers(value), kind, builtin_types=(bytes,))


def whole_numbers(value: Any) -> Any:
    """Return a value with integers in the place of whole floats. It recurses, so the depth must have been checked."""
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) <= MAX_EXACT else value
    if type(value) is list:
        return [whole_numbers(each) for each in cast("list[Any]", value)]
    if type(value) is dict:
        return {key: whole_numbers(each) for key, each in cast("dict[Any, Any]", value).items()}
    return value


def read_object(body: bytes) -> dict[str, Any]:
    """Return the fields of a body, which is one JSON object or empty. Raises `Reject(invalid_payload)`."""
    if not body.strip():
        return {}
    if too_deep(body):
        raise Reject(Code.INVALID_PAYLOAD, f"nested deeper than {MAX_DEPTH} levels")
    try:
        # All of it is decoded, also fields that nobody reads, so that a body that is not JSON is refused as a whole.
        fields = msgspec.json.decode(body)
        # msgspec takes the last of two equal keys without a word, so the standard library looks once more.
        json.loads(body, object_pairs_hook=_refuse_doubles)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Reject(Code.INVALID_PAYLOAD, f"The body is no JSON: {error}") from error
    if type(fields) is not dict:
        raise Reject(Code.INVALID_PAYLOAD, "The body is no JSON object.")
    return cast("dict[str, Any]", fields)


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> None:
    """Raise `ValueError` for an object that has a key twice: readers differ in which of the two counts (RFC 8259)."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"it has the key {key[:64]!r} twice")
        seen.add(key)


def fields_as(fields: dict[str, Any], kind: type[T]) -> T:
    """Return fields as a struct, checked by its types. Raises `Reject(invalid_payload)`, which names what is wrong."""
    try:
        return cast("T", convert(fields, kind))
    except msgspec.ValidationError as error:
        raise Reject(Code.INVALID_PAYLOAD, str(error)) from error
