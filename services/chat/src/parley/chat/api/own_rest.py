"""What users ask and say about themselves, over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from parley.chat.api.own_state import OWN_ROUTES, OwnRoute
from parley.chat.api.rest import Caller, Chat, json_answer, permitted
from parley.chat.api.typed_requests import PayloadFields
from parley.common.http.bodies import read_body
from parley.common.http.json_input import fields_as

router = APIRouter(prefix="/api", tags=["chat"])


def _endpoint(row: OwnRoute, known: PayloadFields) -> Callable[..., Awaitable[Response]]:
    async def run(request: Request, chat: Chat, identity: Caller) -> Response:
        permitted(identity, writes=row.writes, own=row.own)
        fields = known.of_query(request) if row.method == "GET" else await read_body(request)
        fields |= known.of_path(request)
        return json_answer(await row.answer(chat, identity, fields_as(fields, row.payload)))

    run.__name__ = row.name.replace(".", "_")
    run.__doc__ = row.summary
    return run


for own_route in OWN_ROUTES:
    own_fields = PayloadFields(own_route.payload, own_route.method, own_route.path)
    router.add_api_route(
        own_route.path,
        _endpoint(own_route, own_fields),
        methods=[own_route.method],
        openapi_extra=own_fields.openapi(),
    )
