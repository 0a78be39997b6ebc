"""The admin API as a whole: every router of it, in the order in which paths are tried."""

from __future__ import annotations

from fastapi import APIRouter

from parley.auth.http.admin import api_keys, audit, bulk, connections, credentials, erasure, moderation, rooms, users

ROUTERS: tuple[APIRouter, ...] = (
    audit.router,
    connections.router,
    rooms.router,
    bulk.router,
    api_keys.router,
    moderation.router,
    credentials.router,
    erasure.router,
    # Last, because ids of users may hold slashes: what is left of a path is one.
    users.router,
)
