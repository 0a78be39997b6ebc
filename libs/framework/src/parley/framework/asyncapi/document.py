"""The AsyncAPI 3.0 document of a service. Namespaces are channels, events are messages, and acks are replies.

What AsyncAPI has no word for is in extensions, which `page_model` reads: `x-positional` (the payload's items are the
event's arguments), `x-binary` (it holds binary data), `x-pipelined`, `x-timeout` and `x-meanings` (of error codes).
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, get_args, get_origin

import msgspec

from parley.common.errors import MEANINGS
from parley.framework.asyncapi.descriptions import inner_docstring, summary_and_description
from parley.framework.asyncapi.examples import Examples
from parley.framework.asyncapi.gateway_events import ErrorBody, sent_events
from parley.framework.asyncapi.schemas import REF, Schema, holds_bytes, referred, resolve, schemas_of
from parley.framework.routing.router import LIFECYCLE, Route, Router
from parley.framework.service import Service

_SERVER = """A Parley gateway: Socket.IO protocol 5 on Engine.IO 4, by WebSocket or HTTP long polling. Any stock
Socket.IO client connects, and names the namespace in the address: `io("https://HOST/NAMESPACE", {auth: {token}})`."""
_TOKEN = """An access token, as `token` in the `auth` of CONNECT. Not needed where the namespace admits guests."""
_REF_TO_SERVER = {"$ref": "#/servers/gateway"}


def document(service: Service[Any], *, version: str) -> dict[str, Any]:
    """Make the AsyncAPI 3.0 document of a service: what clients may emit, how it is acked, and what they are sent."""
    return _Writer(service).written(version)


class _Writer:
    """Writes one document. The schemas of all types are made at once, so that they share one set of components."""

    def __init__(self, service: Service[Any]) -> None:
        self._service = service
        # `_kinds` lists the types in the order in which the methods below take their schemas from this iterator.
        kinds = [ErrorBody, *(kind for router in service.routers.values() for kind in _kinds(router))]
        schemas, self._components = schemas_of(kinds)
        self._schemas = iter(schemas)
        self._failure = next(self._schemas)
        code = resolve(self._failure, self._components)["properties"]["code"]
        resolve(code, self._components)["x-meanings"] = {
            str(code): {"message": meaning.message, "retryable": meaning.retryable}
            for code, meaning in MEANINGS.items()
        }
        self._channels: dict[str, Any] = {}
        self._operations: dict[str, Any] = {}

    def written(self, version: str) -> dict[str, Any]:
        for router in self._service.routers.values():
            self._namespace(router)
        body = {"channels": self._channels, "operations": self._operations}
        written = {
            "asyncapi": "3.0.0",
            "info": {
                "title": self._service.name,
                "version": version,
                "description": f"Events of the service {self._service.name}, over Socket.IO.",
            },
            "defaultContentType": "application/json",
            "servers": {
                "gateway": {
                    "host": "{host}",
                    "pathname": "/socket.io/",
                    "protocol": "socketio",
                    "protocolVersion": "5",
                    "description": " ".join(_SERVER.split()),
                    "variables": {"host": {"default": "127.0.0.1:8000", "description": "Where the gateway is."}},
                    "security": [{"$ref": "#/components/securitySchemes/token"}],
                }
            },
            **body,
            "components": {
                "schemas": referred(body, self._components),
                "securitySchemes": {"token": {"type": "apiKey", "in": "password", "description": _TOKEN}},
            },
        }
        # Encoded and decoded, since default values may be tuples and enums, which readers of JSON do not see.
        return msgspec.json.decode(msgspec.json.encode(written))

    def _namespace(self, router: Router[Any]) -> None:
        key = _unused(_slug(router.namespace.strip("/")) or "main", self._channels)
        messages: dict[str, Any] = {}
        self._channels[key] = {
            "address": router.namespace,
            "title": f"Namespace {router.namespace}",
            "servers": [_REF_TO_SERVER],
            "messages": messages,
        }
        # Once in each channel: messages of AsyncAPI belong to one.
        refused = {"properties": {"ok": {"const": False}, "error": self._failure}, "required": ["ok", "error"]}
        messages["refused"] = {
            "name": "ack",
            "title": "refused",
            "summary": "The ack of an event that was refused.",
            "payload": {"type": "object"} | refused,
            "examples": [{"payload": self._example({"type": "object"} | refused, lean=True)}],
        }
        # Unwrapped, since methods of controller classes and rows of tables are wrapped each on its own.
        shared = Counter(inspect.unwrap(route.controller) for route in _emitted(router))
        for route in _emitted(router):
            self._received(key, messages, route, alone=shared[inspect.unwrap(route.controller)] == 1)
        for event, kind in sent_events(router).items():
            self._sent(key, messages, event, kind)

    def _received(self, channel: str, messages: dict[str, Any], route: Route, *, alone: bool) -> None:
        """Add an event that clients emit, and its ack. `alone` says that its controller has no other event."""
        name, ack = _unused(_slug(route.event), messages), _unused(f"{_slug(route.event)}.ack", messages)
        message, of_argument = self._arguments(route)
        # The docstring of a controller of several events describes none of them; the type of its argument does.
        text = inspect.getdoc(inspect.unwrap(route.controller)) if alone else None
        message |= summary_and_description(text or of_argument, route.event)
        messages[name] = {"name": route.event, "title": route.event, **message}
        accepted = self._accepted(next(self._schemas))
        messages[ack] = {
            "name": "ack",
            "title": f"ack of {route.event}",
            **summary_and_description(resolve(accepted, self._components).get("description"), route.event),
            "payload": accepted,
            "examples": [{"payload": self._example(accepted, lean=False)}],
        }
        if holds_bytes(accepted, self._components):
            messages[ack]["x-binary"] = True
        operation = self._operation(channel, name, "receive", messages[name])
        # Of an event that is acked either way: AsyncAPI has one reply with several messages, and no word for failure.
        operation["reply"] = {
            "channel": operation["channel"],
            "messages": [_pointer("channels", channel, "messages", each) for each in (ack, "refused")],
        }
        if route.pipelined:
            operation["x-pipelined"] = True
        if route.timeout is not None:
            operation["x-timeout"] = route.timeout

    def _sent(self, channel: str, messages: dict[str, Any], event: str, kind: Any) -> None:
        """Add an event that clients are sent."""
        name = _unused(_slug(event), messages)
        message: dict[str, Any] = {"name": event, "title": event}
        if kind is not None:
            schema = next(self._schemas)
            docstring = inner_docstring(kind) or resolve(schema, self._components).get("description")
            message |= summary_and_description(docstring, event)
            message |= {"payload": schema, "examples": [{"payload": self._example(schema, lean=False)}]}
            if holds_bytes(schema, self._components):
                message["x-binary"] = True
        messages[name] = message
        self._operation(channel, name, "send", message)

    def _operation(self, channel: str, message: str, action: str, about: dict[str, Any]) -> dict[str, Any]:
        operation: dict[str, Any] = {
            "action": action,
            "channel": _pointer("channels", channel),
            "title": about["title"],
            **{key: about[key] for key in ("summary", "description") if key in about},
            "messages": [_pointer("channels", channel, "messages", message)],
        }
        self._operations[_unused(f"{channel}.{message}", self._operations)] = operation
        return operation

    def _arguments(self, route: Route) -> tuple[dict[str, Any], str | None]:
        """Return the message of an event's arguments, and the description of the type of its only argument."""
        parameters = list(inspect.signature(inspect.unwrap(route.controller)).parameters.values())[1:]
        schemas = [next(self._schemas) for _ in _argument_kinds(route)]
        described = [resolve(schema, self._components).get("description") for schema in schemas if "$ref" in schema]
        for number, (schema, parameter) in enumerate(zip(schemas, parameters, strict=False)):
            named = {"allOf": [schema]} if "$ref" in schema and len(schemas) > 1 else schema
            title = {} if "$ref" in named else {"title": parameter.name}
            schemas[number] = title | named | (_default(parameter) if number >= route.signature.required else {})
        message: dict[str, Any] = {"x-binary": True} if route.binary else {}
        if _variadic(route):
            payload: Schema = {"type": "array", "items": schemas[0]}
        elif len(schemas) == 1:
            example = self._example(schemas[0], lean=True)
            return message | {"payload": schemas[0], "examples": [{"payload": example}]}, next(iter(described), None)
        elif schemas:
            lengths = {"minItems": route.signature.required, "maxItems": len(schemas)}
            payload = {"type": "array", "prefixItems": schemas} | lengths
        else:
            return message, None
        example = self._example(payload, lean=True)
        return message | {"payload": payload, "examples": [{"payload": example}], "x-positional": True}, None

    def _accepted(self, schema: Schema) -> Schema:
        """Return the schema of an ack: `ok`, and the fields that the controller returns."""
        if (reference := schema.get("$ref")) is not None:
            name = f"{reference.removeprefix(REF)}.ack"
            if name not in self._components:
                self._components[name] = self._accepted(resolve(schema, self._components))
            return {"$ref": REF + name}
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return {union: [self._accepted(member) for member in schema[union]]}
        fields = schema if schema.get("type") == "object" else Schema(type="object")
        return {
            **fields,
            "properties": {"ok": {"const": True}, **fields.get("properties", {})},
            "required": ["ok", *fields.get("required", [])],
        }

    def _example(self, schema: Schema, *, lean: bool) -> Any:
        return Examples(self._components, lean=lean).of(schema)


def _emitted(router: Router[Any]) -> list[Route]:
    return [route for route in router.routes.values() if route.event not in LIFECYCLE]


def _kinds(router: Router[Any]) -> Iterable[Any]:
    """Return the types of a namespace, in the order in which `_Writer` takes their schemas."""
    for route in _emitted(router):
        yield from _argument_kinds(route)
        yield route.signature.returns
    yield from (kind for kind in sent_events(router).values() if kind is not None)


def _argument_kinds(route: Route) -> tuple[Any, ...]:
    return get_args(route.signature.shape) if _variadic(route) else route.signature.types


def _variadic(route: Route) -> bool:
    return get_origin(route.signature.shape) is list


def _default(parameter: inspect.Parameter) -> Schema:
    try:
        return {"default": msgspec.to_builtins(parameter.default)}
    except TypeError:
        return {}


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


def _unused(name: str, taken: dict[str, Any]) -> str:
    # Two events may have the same slug.
    number, unused = 1, name
    while unused in taken:
        number += 1
        unused = f"{name}-{number}"
    return unused


def _pointer(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}
