"""The static page at `/`, with headers that let it run nothing but its own files."""

from __future__ import annotations

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # The page is revalidated on every load, so that an upgraded server never meets an old script.
    "cache-control": "no-cache",
}


class WebPage(StaticFiles):
    """Serves the files of a directory; `/` is its index.html."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file with the security headers."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response
