"""What is in no log over HTTP: what users ask and say about themselves, blocks, reports and lists of moderators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from parley.chat.api.own_state import OWN_ROUTES
from parley.chat.api.people_routes import PEOPLE_ROUTES
from parley.chat.api.rest import Caller, Chat, json_answer, permitted
from parley.chat.api.state_routes import StateRoute
from parley.chat.api.typed_requests import PayloadFields
from parley.chat.log.database import reachable
from parley.common.http.api import correlation_id
from parley.common.http.bodies import read_body
from parley.common.http.json_input import fields_as
from parley.common.wire.identifiers import uuid7

router = APIRouter(prefix="/api", tags=["chat"])


def _endpoint(row: StateRoute, known: PayloadFields) -> Callable[..., Awaitable[Response]]:
    async def run(request: Request, chat: Chat, identity: Caller) -> Response:
        permitted(identity, writes=row.writes, own=row.own)
        fields = known.of_query(request) if row.method == "GET" else await read_body(request)
        if row.id_optional and fields.get("id") is None:
            fields["id"] = str(uuid7())
        # Last: the path says which room is meant, whatever the body does.
        fields |= known.of_path(request)
        said = fields_as(fields, row.payload)
        with reachable():
            return json_answer(await row.answer(chat, identity, said, correlation_id(request)))

    run.__name__ = row.name.replace(".", "_")
    run.__doc__ = row.summary
    return run


for route in (*PEOPLE_ROUTES, *OWN_ROUTES):
    payload_fields = PayloadFields(route.payload, route.method, route.path)
    router.add_api_route(
        route.path,
        _endpoint(route, payload_fields),
        methods=[route.method],
        openapi_extra=payload_fields.openapi(optional="id" if route.id_optional else ""),
    )
