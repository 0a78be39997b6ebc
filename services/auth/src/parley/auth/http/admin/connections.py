"""`/admin/connections` and `/admin/gateways`: what is live right now."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from parley.auth.components import Current
from parley.auth.http.admin.rights import Admin
from parley.auth.moderation.kicks import Gateways

router = APIRouter(prefix="/admin", tags=["admin"])

MAX_CONNECTIONS = 1_000
"""Connections one answer names."""


class LiveConnection(BaseModel):
    """One live connection, as its gateway says it. A user with two namespaces has two."""

    sid: str
    user_id: str
    name: str
    namespace: str
    gateway: str
    address: str
    transport: str
    connected_at: datetime


class ConnectionsPage(BaseModel):
    """Live connections, oldest first; `unanswered` names gateways that may hold more."""

    connections: list[LiveConnection]
    unanswered: list[str]


class LiveGateway(BaseModel):
    """A gateway that is alive, as far as signs of life tell."""

    id: str
    last_heard_seconds: float = Field(description="seconds since its last sign of life")


class GatewayList(BaseModel):
    """The gateways that are alive."""

    gateways: list[LiveGateway]


@router.get("/connections", summary="Live connections")
async def list_connections(
    components: Current, _admin: Admin, limit: Annotated[int, Query(ge=1, le=MAX_CONNECTIONS)] = 200
) -> ConnectionsPage:
    """Connections on all gateways, the oldest first; who does not answer in two seconds is in `unanswered`."""
    return await connections_page(components.gateways, "", limit)


@router.get("/gateways", summary="Living gateways")
async def list_gateways(components: Current, _admin: Admin) -> GatewayList:
    """The gateways heard within the last seconds."""
    alive = components.gateways.alive()
    return GatewayList(
        gateways=[LiveGateway(id=gateway, last_heard_seconds=round(ago, 3)) for gateway, ago in alive.items()]
    )


async def connections_page(gateways: Gateways, user_id: str, limit: int) -> ConnectionsPage:
    """Return the live connections of one user, or of all ("")."""
    found, unanswered = await gateways.connections(user_id, limit)
    page = {"connections": found, "unanswered": unanswered}
    return ConnectionsPage.model_validate(page, from_attributes=True)
