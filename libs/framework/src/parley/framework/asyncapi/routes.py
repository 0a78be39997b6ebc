"""The document of a service, and the page made of it, beside its web API."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from fastapi import APIRouter, Response

from parley.framework.asyncapi import document, render_html
from parley.framework.service import Service

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The page brings its style along and needs nothing else."""


def asyncapi_router(service: Service[Any], version: str) -> APIRouter:
    """`/asyncapi.json` and `/asyncapi`, the page that shows it; both are made when one is first asked for."""
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
