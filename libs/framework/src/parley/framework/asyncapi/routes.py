"""Routes that serve the document of a service and its page, for services with an HTTP API of their own."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from fastapi import APIRouter, Response

from parley.framework.asyncapi import document, render_html
from parley.framework.service import Service

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The page has its style inside and loads nothing, so nothing else is allowed."""


def asyncapi_router(service: Service[Any], version: str) -> APIRouter:
    """Make the routes `/asyncapi.json` and `/asyncapi`, the page. The first request for either makes both."""
    router = APIRouter(include_in_schema=False)

    @cache
    def made() -> tuple[bytes, str]:
        written = document(service, version=version)
        return msgspec.json.encode(written), render_html(written)

    @router.get("/asyncapi.json")
    async def asyncapi_json() -> Response:
        return Response(made()[0], media_type="application/json")

    @router.get("/asyncapi")
    async def asyncapi_page() -> Response:
        return Response(made()[1], media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    _ = (asyncapi_json, asyncapi_page)
    return router
