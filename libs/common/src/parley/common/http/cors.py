"""Pages of other origins: which may use the sockets and the HTTP APIs, by one setting for all services."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from parley.common.http.addresses import normal_origin
from parley.common.process.settings import ServiceSettings

ANY = "*"
PREFLIGHT_SECONDS = 600
"""How long a browser may remember what it was told."""


def allowed_origins(settings: ServiceSettings) -> list[str]:
    """Return the origins besides the own one, as they are compared. In development any page may come."""
    if not settings.cors_origins:
        return [ANY] if settings.environment == "development" else []
    # As browsers write origins: `https://Chat.example.com:443/` never equals what a page sends.
    return [origin if origin == ANY else normal_origin(origin) for origin in settings.cors_origins]


def install_cors(app: FastAPI, settings: ServiceSettings) -> None:
    """Let pages of these origins use an app. Tokens travel in a header, never in a cookie, so none are allowed."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=allowed_origins(settings),
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
        # Pages see no other header of an answer than these and the simple ones.
        expose_headers=["Retry-After", "X-Request-ID"],
        max_age=PREFLIGHT_SECONDS,
    )
