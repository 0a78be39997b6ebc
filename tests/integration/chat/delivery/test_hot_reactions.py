"""A message that many react to at once: a batch of reactions is one message to the gateways, with all its events."""

from __future__ import annotations

import asyncio

from parley.chat.delivery.hints import NAMESPACE
from parley.chat.delivery.publisher import Publisher
from parley.chat.domain.membership import JoinRoom
from parley.chat.domain.messages.reactions import AddReaction
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import Identity
from parley.framework import Delivery, RoomPublisher
from tests.support.chat.writing import create, running_writer, send
from tests.support.waiting import until

CROWD = [Identity(f"u_{n:03}", f"User {n}") for n in range(400)]


async def test_a_batch_of_reactions_is_one_delivery_of_all_its_events(database_url: str, bus: Bus):
    deliveries: list[list[int]] = []

    def receive(data: bytes) -> None:
        deliveries.append([event.sequence for event in decode(data, Delivery).events])

    async with running_writer(database_url) as (writer, published):
        room = await create(writer)
        await asyncio.gather(*(writer.submit(JoinRoom(f"j{who.user_id}", room), who, "") for who in CROWD))
        message = await send(writer, room, 1)
        bus.listen(subjects.room(NAMESPACE, room), receive)
        await bus.flush()
        before = len(published.decisions)
        reactions = (writer.submit(AddReaction(f"r{who.user_id}", room, message, "x"), who, "") for who in CROWD)
        await asyncio.gather(*reactions)
        decisions = published.decisions[before:]
        publisher = Publisher(RoomPublisher(bus, NAMESPACE))
        for decision in decisions:
            await publisher.publish(decision)
    await until(lambda: sum(map(len, deliveries)) >= len(CROWD), "all reactions are published")
    assert [sequence for one in deliveries for sequence in one] == list(range(message + 1, message + 401))
    assert len(deliveries) == len(decisions)
    assert len(decisions) <= len(CROWD) / 20, "what comes while a batch commits is in the next one"
