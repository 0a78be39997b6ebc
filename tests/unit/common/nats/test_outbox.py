"""What is gathered in a tick leaves together, and what cannot be sent fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from structlog.testing import capture_logs

from parley.common.errors import Code, Reject
from parley.common.nats.outbox import Outbox
from parley.common.process.tasks import Tasks

LIMIT = 10
"""Bytes that the broker of these tests takes."""


class Broker:
    """Takes messages up to a size, none for some subjects, and slowly on request."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def congested(self) -> bool:
        return not self.gate.is_set()

    async def drained(self) -> None:
        await self.gate.wait()

    def before_write(self, gather: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(gather)

    def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        if subject == "gone":
            raise Reject(Code.UNAVAILABLE)
        if subject == "broken":
            raise RuntimeError("the subject is no subject")
        if len(payload) > LIMIT:
            raise Reject(Code.PAYLOAD_TOO_LARGE)
        self.sent.append((subject, payload))


def join(items: Sequence[bytes]) -> bytes:
    return b",".join(items)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def outbox(broker: Broker) -> AsyncIterator[Outbox[bytes]]:
    async with Tasks() as tasks:
        yield Outbox[bytes](broker, tasks, "items", encode=join, weigh=len, max_bytes=20, replace=lambda item: item[:1])


async def sent(outbox: Outbox[bytes]) -> None:
    """Wait until everything has left."""
    async with asyncio.timeout(5):
        while not outbox.empty:
            await asyncio.sleep(0)


async def test_what_one_tick_brings_for_a_subject_is_one_message(outbox: Outbox[bytes], broker: Broker):
    for item in (b"a", b"b"):
        outbox.add("one", item)
    outbox.add("two", b"c")
    await sent(outbox)
    outbox.add("one", b"d")
    await sent(outbox)
    assert broker.sent == [("one", b"a,b"), ("two", b"c"), ("one", b"d")]


async def test_what_comes_while_the_broker_is_slow_waits_and_follows_in_order(outbox: Outbox[bytes], broker: Broker):
    broker.gate.clear()
    outbox.add("one", b"a")
    outbox.add("two", b"x")
    for _ in range(3):
        await asyncio.sleep(0)
    for item in (b"b", b"c"):
        outbox.add("one", item)
    assert broker.sent == [("one", b"a")], "one message at a time"
    assert not outbox.empty
    broker.gate.set()
    await sent(outbox)
    assert broker.sent == [("one", b"a"), ("two", b"x"), ("one", b"b,c")]


@pytest.mark.parametrize("bad", ["gone", "broken"])
async def test_a_subject_that_fails_takes_no_other_along(outbox: Outbox[bytes], broker: Broker, bad: str):
    with capture_logs() as logged:
        for subject in ("one", bad, "two"):
            outbox.add(subject, b"a")
        await sent(outbox)
    assert broker.sent == [("one", b"a"), ("two", b"a")]
    assert [line["event"] for line in logged] == ["not sent"]


async def test_a_message_that_is_too_large_is_cut_and_an_item_that_is_gets_replaced(
    outbox: Outbox[bytes], broker: Broker
):
    with capture_logs() as logged:
        # Weighed too lightly together, and one too heavy by itself.
        for item in (b"aaaa", b"bbbb", b"cccc", b"d" * 15, b"eeee"):
            outbox.add("one", item)
        await sent(outbox)
    assert b",".join(payload for _, payload in broker.sent) == b"aaaa,bbbb,cccc,d,eeee"
    assert [line["event"] for line in logged] == ["too large to be sent"]


async def test_an_item_that_cannot_be_made_smaller_is_given_up_on(broker: Broker):
    async with Tasks() as tasks:
        outbox = Outbox[bytes](broker, tasks, "items", encode=join, weigh=len, max_bytes=20, replace=lambda item: item)
        with capture_logs():
            for item in (b"x" * 15, b"a"):
                outbox.add("one", item)
            await sent(outbox)
    assert broker.sent == [("one", b"a")]
