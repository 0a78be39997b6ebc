"""What users ask and say about themselves, over HTTP."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from fastapi import APIRouter, Request, Response

from parley.chat.api.own_state import OWN_ROUTES, OwnRoute
from parley.chat.api.rest import Caller, Chat, json_answer, permitted
from parley.common.http.bodies import described, read_body
from parley.common.http.json_input import fields_as
from parley.framework import Code, Reject

_FROM_PATH = re.compile(r"{(\w+)}")
_NUMBER = re.compile(r"[0-9]{1,16}")

router = APIRouter(prefix="/api", tags=["chat"])


def _endpoint(row: OwnRoute) -> Callable[..., Awaitable[Response]]:
    from_path = _FROM_PATH.findall(row.path)
    numbers = {name for name, part in _properties(row).items() if "integer" in str(part)}

    async def run(request: Request, chat: Chat, identity: Caller) -> Response:
        permitted(identity, writes=row.writes, own=row.own)
        fields = _query(request, numbers) if row.method == "GET" else await read_body(request)
        fields |= {name: _value(request.path_params[name], name in numbers) for name in from_path}
        return json_answer(await row.answer(chat, identity, fields_as(fields, row.payload)))

    run.__name__ = row.name.replace(".", "_")
    run.__doc__ = row.summary
    return run


def _query(request: Request, numbers: Collection[str]) -> dict[str, Any]:
    """Return the fields of a query, some of which are numbers. Raises `Reject`."""
    fields: dict[str, Any] = {}
    for name, value in request.query_params.items():
        if "\x00" in value:
            raise Reject(Code.INVALID_PAYLOAD, "NUL is not text")
        fields[name] = _value(value, name in numbers)
    return fields


def _value(text: str, is_number: bool) -> str | int:
    """Return what a path or a query says of a field. What is no number is refused with the field's type."""
    return int(text) if is_number and _NUMBER.fullmatch(text) else text


def _properties(row: OwnRoute) -> dict[str, Any]:
    body = described(row.payload)["requestBody"]["content"]["application/json"]["schema"]
    return body["properties"]


def _kind(row: OwnRoute, name: str) -> str:
    return "integer" if "integer" in str(_properties(row)[name]) else "string"


def _add(row: OwnRoute) -> None:
    from_path = frozenset(_FROM_PATH.findall(row.path))
    extra = {} if row.method == "GET" else described(row.payload, without=from_path)
    extra["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": _kind(row, name)}}
        for name in sorted(from_path)
    ]
    if row.method == "GET":
        extra["parameters"] += [
            {"name": name, "in": "query", "required": False, "schema": part}
            for name, part in _properties(row).items()
            if name not in from_path
        ]
    router.add_api_route(row.path, _endpoint(row), methods=[row.method], openapi_extra=extra)


for own_route in OWN_ROUTES:
    _add(own_route)
