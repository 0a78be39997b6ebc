"""JSON from outside, read the same way wherever it comes in: strictly, and with 1.0 as the integer that it is.

To JSON `1.0` and `1` are one number (RFC 8259, section 6), and serializers of many languages write the former. `true`
and `"1"` are no numbers. Pure.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from parley.common.errors import Code, Reject
from parley.common.nesting import MAX_DEPTH, too_deep

T = TypeVar("T")

MAX_EXACT = 2.0**53
"""Below it every whole number has a float of its own."""


def decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decode JSON that is not nested too deeply. Raises what msgspec raises."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        if not any(mark in data for mark in (b".", b"e", b"E")):
            raise
        # Rare enough to be read twice, so that what is written as usual costs nothing.
        return msgspec.convert(whole_numbers(msgspec.json.decode(data)), decoder.type)


def convert(value: Any, kind: Any) -> Any:
    """Convert decoded JSON, in which bytes may stand, to a type. Raises `msgspec.ValidationError`."""
    try:
        return msgspec.convert(value, kind, builtin_types=(bytes,))
    except msgspec.ValidationError:
        return msgspec.convert(whole_numbers(value), kind, builtin_types=(bytes,))


def whole_numbers(value: Any) -> Any:
    """The value with integers where it has floats that are whole. Only as deep as `MAX_DEPTH`, or it recurses."""
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) <= MAX_EXACT else value
    if type(value) is list:
        return [whole_numbers(each) for each in cast("list[Any]", value)]
    if type(value) is dict:
        return {key: whole_numbers(each) for key, each in cast("dict[Any, Any]", value).items()}
    return value


def read_object(body: bytes) -> dict[str, Any]:
    """The fields of a request's body, which is one JSON object; of an empty one, none. Raises `Reject`."""
    if not body.strip():
        return {}
    if too_deep(body):
        raise Reject(Code.INVALID_PAYLOAD, f"nested deeper than {MAX_DEPTH} levels")
    try:
        # All of it is decoded, also what nobody will read: what is no JSON is refused as a whole.
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Reject(Code.INVALID_PAYLOAD, f"The body is no JSON: {error}") from error
    if type(fields) is not dict:
        raise Reject(Code.INVALID_PAYLOAD, "The body is no JSON object.")
    return cast("dict[str, Any]", fields)


def fields_as(fields: dict[str, Any], kind: type[T]) -> T:
    """The fields as a struct, checked by its types. Raises `Reject(invalid_payload)`, which says what is wrong."""
    try:
        return cast("T", convert(fields, kind))
    except msgspec.ValidationError as error:
        raise Reject(Code.INVALID_PAYLOAD, str(error)) from error
