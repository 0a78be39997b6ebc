"""Reads an AsyncAPI document into what a page shows of it: lines, table rows and examples, with references resolved.

`markdown` and `html` render it, so that both show the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from parley.framework.asyncapi.schema_rows import SchemaReader, SchemaRow


@dataclass(frozen=True, slots=True)
class Event:
    """One event on a page."""

    name: str
    anchor: str
    emitted: bool
    """Whether clients emit the event; otherwise they are sent it."""
    summary: str
    description: str
    fields: list[SchemaRow]
    positional: bool
    """Whether the fields are the event's arguments, and not the fields of its only argument."""
    binary: bool
    call: str
    """A line of JavaScript by which a client emits the event or listens to it."""
    example: str
    ack_summary: str
    ack: list[SchemaRow]
    ack_example: str


@dataclass(frozen=True, slots=True)
class NamespaceEvents:
    """A namespace and its events; those that clients emit come first."""

    address: str
    anchor: str
    events: list[Event]

    @property
    def emitted(self) -> list[Event]:
        """Events that clients emit."""
        return [event for event in self.events if event.emitted]

    @property
    def sent(self) -> list[Event]:
        """Events that clients are sent."""
        return [event for event in self.events if not event.emitted]


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One row of the table of error codes."""

    name: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class ReferencePage:
    """Everything on a page."""

    title: str
    version: str
    description: str
    server: str
    token: str
    namespaces: list[NamespaceEvents]
    refused: str
    """An example of the ack of a refused event, as JSON."""
    codes: list[ErrorCode]


def read_page(document: dict[str, Any]) -> ReferencePage:
    """Read a document that `document` made."""
    components: dict[str, Any] = document["components"]["schemas"]
    # The codes are one of the schemas, under a name that msgspec has chosen.
    explained = [schema["x-meanings"] for schema in components.values() if "x-meanings" in schema]
    meanings: dict[str, Any] = explained[0] if explained else {}
    channels: dict[str, Any] = document["channels"]
    refused: dict[str, Any] = next((channel["messages"]["refused"] for channel in channels.values()), dict[str, Any]())
    return ReferencePage(
        document["info"]["title"],
        document["info"]["version"],
        document["info"].get("description", ""),
        document["servers"]["gateway"]["description"],
        document["components"]["securitySchemes"]["token"]["description"],
        [
            NamespaceEvents(channel["address"], f"namespace:{key}", list(_events(document, key)))
            for key, channel in channels.items()
        ],
        _example(refused),
        [ErrorCode(code, meaning["message"], meaning["retryable"]) for code, meaning in meanings.items()],
    )


def _events(document: dict[str, Any], channel: str) -> Iterator[Event]:
    for key, operation in document["operations"].items():
        if operation["channel"]["$ref"] != f"#/channels/{channel}":
            continue
        message = _followed(document, operation["messages"][0])
        replies = operation.get("reply", {}).get("messages", [])
        ack = _followed(document, replies[0]) if replies else {}
        positional = message.get("x-positional", False)
        reader = SchemaReader(document["components"]["schemas"], binary=message.get("x-binary", False))
        ack_reader = SchemaReader(document["components"]["schemas"], binary=ack.get("x-binary", False))
        # AsyncAPI speaks from the application's side: what it receives is what clients emit.
        emitted = operation["action"] == "receive"
        yield Event(
            message["name"],
            key,
            emitted,
            operation.get("summary", ""),
            operation.get("description", ""),
            list(reader.arguments(message["payload"])) if "payload" in message else [],
            positional,
            message.get("x-binary", False) or ack.get("x-binary", False),
            _emit(message) if emitted else _listen(message),
            "" if emitted else _example(message),
            "\n\n".join(ack[key] for key in ("summary", "description") if key in ack),
            list(ack_reader.arguments(ack["payload"])) if ack else [],
            _example(ack),
        )


def _emit(message: dict[str, Any]) -> str:
    arguments = [json.dumps(message["name"], ensure_ascii=False)]
    for example in message.get("examples", [])[:1]:
        payload = example["payload"]
        arguments += map(_json, payload if message.get("x-positional") else [payload])
    return f"const ack = await socket.emitWithAck({', '.join(arguments)});"


def _listen(message: dict[str, Any]) -> str:
    argument = "data" if "payload" in message else ""
    return f"socket.on({json.dumps(message['name'], ensure_ascii=False)}, ({argument}) => {{ … }});"


def _example(message: dict[str, Any]) -> str:
    return next((_json(example["payload"]) for example in message.get("examples", [])), "")


def _json(value: Any) -> str:
    """Return JSON, on one line if it is short."""
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= 72 else json.dumps(value, ensure_ascii=False, indent=2)


def _followed(document: dict[str, Any], reference: dict[str, str]) -> dict[str, Any]:
    part: Any = document
    for key in reference["$ref"].removeprefix("#/").split("/"):
        part = part[key]
    return part
