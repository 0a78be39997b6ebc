"""Bodies of HTTP requests: decoded by msgspec into the types that the rest of a service works with, and described.

So there is one validation, whether something comes over a socket or over HTTP, and the OpenAPI document says the same
as the code does. A body of which everything may be left out may be left out itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import msgspec
from fastapi import Depends, Request

from parley.common.errors import Code, Reject
from parley.common.http.json_input import fields_as, read_object

T = TypeVar("T")
Schema = dict[str, Any]

_DEFINITIONS = "#/$defs/"


def body_of(kind: type[Any]) -> Any:
    """A dependency of an endpoint: the request's body as this struct. The endpoint refuses with `invalid_payload`."""
    return Depends(reader_of(kind))


def reader_of(kind: type[T]) -> Callable[[Request], Awaitable[T]]:
    """A function that reads a request's body as this struct. It raises `Reject`."""

    async def read(request: Request) -> T:
        return fields_as(await read_body(request), kind)

    return read


async def read_body(request: Request) -> dict[str, Any]:
    """The fields of a request's body, which is a JSON object or empty. Raises `Reject`."""
    said = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if said != "application/json" and not (said.startswith("application/") and said.endswith("+json")):
        raise Reject(Code.INVALID_PAYLOAD, "A body is JSON, with a Content-Type of application/json.")
    return read_object(await request.body())


def described(kind: type[Any], *, without: frozenset[str] = frozenset(), optional: str = "") -> Schema:
    """What an endpoint adds to its OpenAPI description, as `openapi_extra`: the body that it reads.

    `without` names fields that come from elsewhere, and `optional` one that the server makes when it is left out.
    """
    schema = msgspec.json.schema(kind)
    body = cast("Schema", _inlined(schema, schema.get("$defs", {})))
    body["properties"] = {name: part for name, part in body["properties"].items() if name not in without}
    required = [name for name in body.get("required", []) if name in body["properties"] and name != optional]
    body.pop("required", None)
    if required:
        body["required"] = required
    return {"requestBody": {"required": bool(required), "content": {"application/json": {"schema": body}}}}


def _inlined(part: Any, definitions: Schema) -> Any:
    """The schema with what it refers to in place. No body here refers to itself."""
    if isinstance(part, list):
        return [_inlined(each, definitions) for each in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    schema = cast("Schema", part)
    if (reference := schema.get("$ref")) is not None:
        return _inlined(definitions[cast("str", reference).removeprefix(_DEFINITIONS)], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items() if key != "$defs"}
