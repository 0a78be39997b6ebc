"""Blocks, reports and lists of moderators, over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from parley.chat.api.people_routes import PEOPLE_ROUTES, PeopleRoute
from parley.chat.api.rest import Caller, Chat, json_answer, permitted
from parley.chat.api.typed_requests import PayloadFields
from parley.chat.log.database import reachable
from parley.common.http.api import correlation_id
from parley.common.http.bodies import read_body
from parley.common.http.json_input import fields_as
from parley.common.wire.identifiers import uuid7

router = APIRouter(prefix="/api", tags=["chat"])


def _endpoint(row: PeopleRoute, known: PayloadFields) -> Callable[..., Awaitable[Response]]:
    async def run(request: Request, chat: Chat, identity: Caller) -> Response:
        permitted(identity, writes=row.writes, own=row.own)
        fields = known.of_query(request) if row.method == "GET" else await read_body(request)
        if "id" in known and fields.get("id") is None:
            fields["id"] = str(uuid7())
        fields |= known.of_path(request)
        said = fields_as(fields, row.payload)
        with reachable():
            return json_answer(await row.answer(chat, identity, said, correlation_id(request)))

    run.__name__ = row.name.replace(".", "_")
    run.__doc__ = row.summary
    return run


for people_route in PEOPLE_ROUTES:
    people_fields = PayloadFields(people_route.payload, people_route.method, people_route.path)
    router.add_api_route(
        people_route.path,
        _endpoint(people_route, people_fields),
        methods=[people_route.method],
        openapi_extra=people_fields.openapi(optional="id"),
    )
