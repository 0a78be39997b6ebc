"""Blocks, reports and lists of moderators, over HTTP."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from parley.chat.api.people_routes import PEOPLE_ROUTES, PeopleRoute
from parley.chat.api.rest import Caller, Chat, json_answer, permitted
from parley.chat.log.database import reachable
from parley.common.http.api import correlation_id
from parley.common.http.bodies import described, read_body
from parley.common.http.json_input import fields_as
from parley.common.wire.identifiers import uuid7
from parley.framework import Code, Reject

_FROM_PATH = re.compile(r"{(\w+)}")
_NUMBER = re.compile(r"[0-9]{1,16}")

router = APIRouter(prefix="/api", tags=["chat"])


def _endpoint(row: PeopleRoute) -> Callable[..., Awaitable[Response]]:
    from_path = _FROM_PATH.findall(row.path)
    properties = _properties(row)

    async def run(request: Request, chat: Chat, identity: Caller) -> Response:
        permitted(identity, writes=row.writes)
        fields = _query(request, properties) if row.method == "GET" else await read_body(request)
        if "id" in properties and fields.get("id") is None:
            fields["id"] = str(uuid7())
        fields |= {name: request.path_params[name] for name in from_path}
        said = fields_as(fields, row.payload)
        with reachable():
            return json_answer(await row.answer(chat, identity, said, correlation_id(request)))

    run.__name__ = row.name.replace(".", "_")
    run.__doc__ = row.summary
    return run


def _query(request: Request, properties: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a query, some of which are numbers. Raises `Reject`."""
    fields: dict[str, Any] = {}
    for name, value in request.query_params.items():
        if "\x00" in value:
            raise Reject(Code.INVALID_PAYLOAD, "NUL is not text")
        is_number = "integer" in str(properties.get(name)) and _NUMBER.fullmatch(value)
        fields[name] = int(value) if is_number else value
    return fields


def _properties(row: PeopleRoute) -> dict[str, Any]:
    return described(row.payload)["requestBody"]["content"]["application/json"]["schema"]["properties"]


def _add(row: PeopleRoute) -> None:
    from_path = frozenset(_FROM_PATH.findall(row.path))
    extra = {} if row.method == "GET" else described(row.payload, without=from_path, optional="id")
    extra["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in sorted(from_path)
    ]
    if row.method == "GET":
        extra["parameters"] += [
            {"name": name, "in": "query", "required": False, "schema": part}
            for name, part in _properties(row).items()
            if name not in from_path
        ]
    router.add_api_route(row.path, _endpoint(row), methods=[row.method], openapi_extra=extra)


for people_route in PEOPLE_ROUTES:
    _add(people_route)
