"""Bodies of HTTP requests: msgspec decodes them into the structs of the service and describes them for OpenAPI.

So a command is validated by one type, whether it comes over a socket or over HTTP, and the OpenAPI document is made of
the same type. A body all of whose fields are optional may be left out itself.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec
from fastapi import Depends, Request

from parley.common.errors import Code, Reject
from parley.common.http.json_input import fields_as, read_object

T = TypeVar("T")
Schema = dict[str, Any]

_DEFINITIONS = "#/$defs/"


def body_of(kind: type[Any]) -> Any:
    """Return FastAPI's dependency for the request's body as this struct. It raises `Reject(invalid_payload)`."""

    async def read(request: Request) -> Any:
        return fields_as(await read_body(request), kind)

    return Depends(read)


async def read_body(request: Request) -> dict[str, Any]:
    """Return the fields of a request's body, which is a JSON object or empty. Raises `Reject(invalid_payload)`."""
    # Forms and plain text are refused: a page of any origin may send these without the browser asking first (CORS).
    said = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if said != "application/json" and not (said.startswith("application/") and said.endswith("+json")):
        raise Reject(Code.INVALID_PAYLOAD, "A body is JSON, with a Content-Type of application/json.")
    return read_object(await request.body())


def described(kind: type[Any], *, without: frozenset[str] = frozenset(), optional: str = "") -> Schema:
    """Describe the body that an endpoint reads, for its `openapi_extra`.

    `without` names fields that the endpoint takes from the path or the token, and `optional` a field that the server
    makes up when it is left out.
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
    """Return a schema with its references replaced by what they refer to. No body here refers to itself."""
    if isinstance(part, list):
        return [_inlined(each, definitions) for each in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    schema = cast("Schema", part)
    if (reference := schema.get("$ref")) is not None:
        return _inlined(definitions[cast("str", reference).removeprefix(_DEFINITIONS)], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items() if key != "$defs"}
