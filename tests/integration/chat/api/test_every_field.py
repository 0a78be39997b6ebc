"""Every field of everything that chat is sent, in turn with what does not belong there, through the real database.

What makes a value fit comes from the schemas of the routes, so a new command, question or field is tried as well.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any, cast

import msgspec
import pytest

from parley.chat.api.commands import COMMANDS
from parley.chat.api.own_state import OWN_ROUTES
from parley.chat.api.people_routes import PEOPLE_ROUTES
from tests.fuzz.api.values import Generator, text_of
from tests.support.bus import running_bus
from tests.support.chat.rest_api import Rest, running_rest

WRONG: list[Any] = ["\x00", "a\x00", 2**63, 10**30, -1, [{}]]


@pytest.fixture
async def rest(database_url: str, own_nats: Any) -> AsyncIterator[Rest]:
    async with running_bus(own_nats.url, "auth") as bus, running_rest(database_url, own_nats.url, bus) as running:
        yield running


def requests() -> Iterator[tuple[str, str, type[Any]]]:
    """The method, the path and the payload of each row of the three tables."""
    for row in COMMANDS:
        yield "POST", row.path, row.command
    for row in (*OWN_ROUTES, *PEOPLE_ROUTES):
        yield row.method, row.path, row.payload


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a payload: what holds it, and under which key."""
    items = list(cast("dict[str, Any]", value).items()) if isinstance(value, dict) else list(enumerate(value))
    for key, each in items:
        yield value, key
        if isinstance(each, dict | list):
            yield from places(each)


def filled(payload: type[Any], known: dict[str, Any]) -> dict[str, Any]:
    """A payload with all of its fields, that names what is there."""
    (schema,), definitions = msgspec.json.schema_components([payload], ref_template="#/{name}")
    definitions = {name: part | {"required": list(part.get("properties", ()))} for name, part in definitions.items()}
    generator = Generator(definitions, lambda name, _: known.get(name))
    return generator.value(schema, Random(1))


async def test_nothing_in_any_field_makes_chat_fail(rest: Rest):
    room = await rest.room()
    for user in ("ann", "ben"):
        await rest.send("POST", f"/rooms/{room}/join", {}, user=user)
    await rest.send("POST", "/me/commands", {"commands": [{"name": "poll", "description": "Ask"}]}, user="ben")
    _, sent = await rest.send("POST", f"/rooms/{room}/messages", {"body": "hello"})
    known: dict[str, Any] = {"room": room, "user": "u_ben", "message": sent["sequence"], "thread": sent["sequence"]}
    tried, failed = 0, list[str]()
    for method, path, payload in requests():
        within = re.findall(r"{(\w+)}", path)
        for position in range(len(list(places(filled(payload, known))))):
            for wrong in WRONG:
                said = filled(payload, known)
                holder, key = list(places(said))[position]
                if key in within or (method == "GET" and not isinstance(wrong, str | int)):
                    continue
                holder[key] = wrong
                at = path
                for name in within:
                    at = at.replace("{" + name + "}", str(known.get(name, said.get(name, "x"))))
                query = {name: said[name] for name in said if name not in within} if method == "GET" else {}
                content = text_of(said, Random(1)).encode() if method != "GET" else None
                query = {name: str(value).encode("utf-8", "replace").decode() for name, value in query.items()}
                status, answer = await rest.send(method, at, content=content, **query)
                tried += 1
                if status >= 500:
                    failed.append(f"{method} {at} {key} {str(wrong)[:20]!r}: {answer}")
    assert failed == []
    assert tried > 1000
