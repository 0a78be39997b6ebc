"""NUL and half of a surrogate pair in each text of everything that a socket may be sent: told by a code, no more."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import aiohttp
import pytest

from parley.common.errors import Code
from tests.fuzz.api.documents import Surface, add_events
from tests.fuzz.api.odd_text import ODD, failure, odd
from tests.fuzz.api.people import SAME, Person
from tests.fuzz.api.run import KNOWN, SETTINGS
from tests.fuzz.api.values import Generator
from tests.support.clients.raw_socket import RawSocket
from tests.support.stack.running import running_stack
from tests.support.stack.stack import Stack


@pytest.fixture(scope="module")
async def generous(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A stack that takes as much as is sent, and files."""
    directory = tmp_path_factory.mktemp("odd")
    files = {"PARLEY_CHAT_UPLOADS": str(directory / "files")}
    async with running_stack(postgres_url, template_database, directory, **SETTINGS, **files) as running:
        yield running


async def test_odd_text_in_an_event_is_refused_or_of_no_account(generous: Stack):
    account = await generous.account("ann")
    ann = Person("ann", account["access_token"], account["user_id"])
    found, refused = list[str](), 0
    async with aiohttp.ClientSession() as session:
        await ann.connect(session, generous.gateways[0].url)
        room = (await ann.emit("room.create", '{"id":"r","name":"Room"}', 30))["room"]["id"]
        sent = await ann.emit("message.send", json.dumps({"id": "m", "room": room, "body": "hello"}), 30)
        known = dict(KNOWN) | {"room": room, "user": ann.user_id, "sequence": sent["sequence"]}
        surface = Surface()
        add_events(surface)
        generator = Generator(surface.definitions, lambda name, _: known.get(SAME.get(name, name)), whole=True)
        for event in surface.events:
            for text in ODD:
                answer = await ann.emit(event.name + text, "{}", 30)
                assert answer["error"]["code"] in {Code.UNKNOWN_EVENT, Code.INVALID_PAYLOAD}
            for what, payload in odd([generator.value(event.payload, Random(1))]):
                answer = await ann.emit(event.name, json.dumps(payload[0]), 30)
                if failure(answer):
                    found.append(f"{event.name} {what}: {answer}")
                refused += not answer["ok"]
        assert not ann.ended
        await ann.leave()
    assert found == []
    assert refused > 300


async def test_odd_text_at_connect_is_refused_by_a_code_or_of_no_account(generous: Stack):
    account = await generous.account("ben")
    fitting: dict[str, Any] = {
        "token": account["access_token"], "cursors": {"r": 1}, "log": "x", "pid": "x", "offset": "x",
        "presence": "online", "own": {"x": ["x"]},
    }  # fmt: skip
    for _, auth in odd([fitting]):
        async with RawSocket.open(generous.gateways[0].url) as socket:
            await socket.handshake()
            answer = await socket.join("/chat", auth[0])
            if answer.startswith("44/chat,"):
                assert json.loads(answer[8:])["data"]["code"] in {Code.INVALID_PAYLOAD, Code.INVALID_TOKEN}, answer
            else:
                assert answer.startswith("40/chat,{"), answer


async def test_odd_text_in_a_namespace_or_an_ack_ends_at_most_its_own_connection(generous: Stack):
    account = await generous.account("cleo")
    for packet in ('40/\x00,{"token":"x"}', '42/\x00,1["a"]', '43/chat,1["\\ud800"]', '43/chat,1["\\u0000"]'):
        async with RawSocket.open(generous.gateways[0].url) as socket:
            await socket.handshake()
            await socket.send(packet)
            await socket.join("/chat", {"token": account["access_token"]})
    assert all("Traceback" not in process.log() for process in generous.processes)
