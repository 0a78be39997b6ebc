"""Search as clients have it: fed by the log's own consumer, over the socket's route and over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from parley.chat.api.socket import router
from parley.cli.database import consumer_rows
from parley.cli.failure import CommandFailure
from parley.common.errors import Reject
from parley.common.wire import subjects
from parley.common.wire.consumers import RegisterConsumer
from tests.support.bus import running_bus
from tests.support.chat.rest_api import Rest, running_rest
from tests.support.waiting import until


@pytest.fixture
async def rest(database_url: str, own_nats: Any) -> AsyncIterator[Rest]:
    async with running_bus(own_nats.url, "auth") as bus, running_rest(database_url, own_nats.url, bus) as running:
        yield running


async def found(rest: Rest, query: str, **options: Any) -> list[str]:
    status, answer = await rest.send("GET", "/search", query=query, **options)
    assert status == 200, answer
    return [message["data"]["body"] for message in answer["messages"]]


async def test_what_is_sent_is_found_a_moment_later(rest: Rest, database_url: str, own_nats: Any):
    assert "search" in router.routes
    room = await rest.room()
    for text in ("one fish", "two fish", "red fish"):
        await rest.send("POST", f"/rooms/{room}/messages", {"body": text})
    await until(lambda: found_all(rest, 3), "all are indexed")
    status, page = await rest.send("GET", "/search", query="fish", limit=2)
    assert (status, page["more"], [one["number"] for one in page["messages"]]) == (200, True, [3, 2])
    assert await found(rest, "fish", after=page["next"], user="ben") == ["one fish"]
    assert await rest.code("GET", "/search", query="%") == "invalid_payload"
    assert await rest.code("GET", "/search") == "invalid_payload"
    assert await rest.code("GET", "/search", query="fish", limit=1000) == "invalid_payload"
    assert await rest.code("GET", "/search", query="fish in:rnowhere") == "not_found"

    # Made anew: from the beginning of the log, as an operator asks for.
    async with rest.app.state.services.reads.acquire() as connection:
        await connection.execute("TRUNCATE chat.search, chat.search_parts")
    assert await found(rest, "fish") == []
    await consumer_rows.move(database_url, "chat.search-1", end=False)
    await until(lambda: found_all(rest, 3), "all are indexed anew")

    # Forgotten, or of a version that there is no more.
    await consumer_rows.forget(database_url, "chat.search-1")
    async with rest.app.state.services.reads.acquire() as connection:
        await connection.execute("INSERT INTO chat.consumers (name, position) VALUES ('chat.search-0', '3:')")
    async with running_bus(own_nats.url, "billing") as bus:
        with pytest.raises(Reject, match="cannot have the name"):
            await bus.call(subjects.REGISTER_CONSUMER, RegisterConsumer("chat.search-7", "*"))

    async def one_is_left() -> bool:
        lines = await consumer_rows.list_consumers(database_url)
        found = [line.split()[0] for line in lines if line.startswith("chat.search")]
        return found == ["chat.search-1"]

    await until(one_is_left, "the present version alone follows the log")
    with pytest.raises(CommandFailure):
        await consumer_rows.forget(database_url, "chat.search-0")


async def found_all(rest: Rest, count: int) -> bool:
    return len(await found(rest, "fish")) == count
