"""Every field of everything that chat is sent, in turn with what does not belong there, through the real database.

What makes a value fit comes from the schemas of the routes, so a new command, question or field is tried as well. It is
done as a controller of the socket does it; over HTTP some of it would be refused before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from random import Random
from typing import Any, cast

import msgspec
import pytest

from parley.chat.api.commands import COMMANDS
from parley.chat.api.own_state import OWN_ROUTES
from parley.chat.api.people_routes import PEOPLE_ROUTES
from parley.chat.state import ChatState
from parley.common.errors import Code, Reject
from parley.common.http.json_input import fields_as
from parley.common.wire.identity import Identity
from tests.fuzz.api.values import Generator
from tests.support.bus import running_bus
from tests.support.chat.rest_api import Rest, running_rest

ANN = Identity("u_ann", "ann")
WRONG: list[Any] = ["\x00", "a\x00", 2**63, 10**30, -1, [{}]]

Do = Callable[[Any], Awaitable[Any]]


@pytest.fixture
async def rest(database_url: str, own_nats: Any) -> AsyncIterator[Rest]:
    async with running_bus(own_nats.url, "auth") as bus, running_rest(database_url, own_nats.url, bus) as running:
        yield running


def routes(chat: ChatState) -> Iterator[tuple[type[Any], Do]]:
    """The payload of each row of the three tables, and what is done with it."""
    for row in COMMANDS:
        yield row.command, lambda said: chat.writer.submit(said, ANN, "test")
    for row in (*OWN_ROUTES, *PEOPLE_ROUTES):
        yield row.payload, lambda said, row=row: row.answer(chat, ANN, said, "test")


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
    generator = Generator(definitions, lambda name, _: known.get(name), whole=True)
    return generator.value(schema, Random(1))


async def test_nothing_in_any_field_makes_chat_fail(rest: Rest):
    room = await rest.room()
    await rest.send("POST", f"/rooms/{room}/join", {}, user="ben")
    _, sent = await rest.send("POST", f"/rooms/{room}/messages", {"body": "hello"})
    known: dict[str, Any] = {"room": room, "user": "u_ben", "message": sent["sequence"], "thread": sent["sequence"]}
    refused, failed = 0, list[str]()
    for payload, do in routes(rest.app.state.services):
        for position in range(len(list(places(filled(payload, known))))):
            for wrong in WRONG:
                said = filled(payload, known)
                holder, key = list(places(said))[position]
                holder[key] = wrong
                try:
                    await do(fields_as(said, payload))
                except Reject as rejection:
                    refused += 1
                    if rejection.code in {Code.INTERNAL, Code.UNAVAILABLE, Code.TIMEOUT}:
                        failed.append(f"{payload.__name__}.{key} {wrong!r}: {rejection!r}")
                except Exception as error:  # noqa: BLE001 - whatever it is, its sender would be told `internal`
                    failed.append(f"{payload.__name__}.{key} {wrong!r}: {error!r}")
    assert failed == []
    assert refused > 500
