"""The page that describes an HTTP API: made here from its OpenAPI document, without a script and without anybody else.

The page's origin is that of the web client, whose storage holds tokens: nothing from elsewhere is to run there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any, cast

from fastapi import FastAPI, Response

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
article { border-top: 1px solid #8886; padding: 1rem 0 }
h2 { font-size: 1rem; margin: 0 } pre { overflow: auto; padding: .75rem; background: #8882 } code { font-size: .9em }
"""


def install_api_page(app: FastAPI, path: str) -> None:
    """Serve the page of an app that has a document and no page of the framework's, which would load one from a CDN."""

    @app.get(path, include_in_schema=False)
    async def page() -> Response:
        return Response(
            render_page(app.openapi(), app.openapi_url or ""),
            media_type="text/html",
            headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"},
        )

    _ = page  # only the decorator uses it


def render_page(document: dict[str, Any], url: str) -> str:
    """Return the page of an OpenAPI document that is served at this URL."""
    info = document["info"]
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>',
            f"<h1>{escape(info['title'])}</h1>",
            f"<p>{escape(info.get('description', ''))}</p>",
            f'<p>For programs: <a href="{escape(url)}">the OpenAPI document</a>.</p><main>',
            *(part for operation in operations for part in _operation(*operation, document)),
            "</main></html>",
        ]
    )


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    yield f"<article><h2><code>{escape(method)} {escape(path)}</code> {escape(operation.get('summary', ''))}</h2>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    if parameters := operation.get("parameters"):
        items = (f"<li><code>{escape(one['name'])}</code> ({escape(one['in'])})</li>" for one in parameters)
        yield f"<ul>{''.join(items)}</ul>"
    bodies: dict[str, Any] = {"Body": operation.get("requestBody"), "Answer": operation["responses"].get("200")}
    for title, body in bodies.items():
        schema: Any = body and body.get("content", {}).get("application/json", {}).get("schema")
        if schema:
            written = json.dumps(_resolved(schema, document), indent=2, ensure_ascii=False)
            yield f"<details><summary>{title}</summary><pre>{escape(written)}</pre></details>"
    yield "</article>"


def _resolved(part: Any, document: dict[str, Any], depth: int = 0) -> Any:
    """A schema with what it refers to in its place, some levels deep: one that refers to itself ends there."""
    if isinstance(part, list):
        return [_resolved(each, document, depth) for each in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    schema = cast("dict[str, Any]", part)
    if (reference := schema.get("$ref")) is not None and depth < 8:
        found: Any = document
        for name in str(reference).removeprefix("#/").split("/"):
            found = found[name]
        return _resolved(found, document, depth + 1)
    return {key: _resolved(value, document, depth) for key, value in schema.items()}
