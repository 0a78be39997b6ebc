"""What may be sent, as the AsyncAPI document and the OpenAPI documents of a running stack say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.paths import ROOT

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """What clients may emit."""

    name: str
    payload: Schema


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A request over HTTP."""

    base: str
    method: str
    path: str
    parameters: list[Schema]
    body: Schema | None
    bytes_wanted: bool = False


@dataclass
class Surface:
    """All of it, and the schemas that it refers to."""

    events: list[Event] = field(default_factory=list[Event])
    endpoints: list[Endpoint] = field(default_factory=list[Endpoint])
    definitions: Schema = field(default_factory=dict[str, Any])


def add_events(surface: Surface) -> None:
    """Add what the committed AsyncAPI document says."""
    document = json.loads((ROOT / "docs/reference/chat.asyncapi.json").read_text())
    messages = document["channels"]["chat"]["messages"]
    for operation in document["operations"].values():
        if operation["action"] == "receive":
            said = messages[operation["messages"][0]["$ref"].rsplit("/", 1)[1]]
            surface.events.append(Event(operation["title"], said["payload"]))
    surface.definitions |= document["components"]["schemas"]


async def add_endpoints(surface: Surface, http: httpx.AsyncClient, base: str, document: str, under: str) -> None:
    """Add what a service's OpenAPI document says of the paths that begin so."""
    openapi = (await http.get(base + document)).raise_for_status().json()
    surface.definitions |= openapi.get("components", {}).get("schemas", {})
    for path, methods in openapi["paths"].items():
        if not path.startswith(under):
            continue
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            body = content.get("application/json", {}).get("schema")
            raw = "application/octet-stream" in content
            parameters = operation.get("parameters", [])
            surface.endpoints.append(Endpoint(base, method.upper(), path, parameters, body, raw))
