"""What is published in a client's rooms once it has CONNECT reaches it, however late its gateway reaches the broker."""

from __future__ import annotations

import json

from parley.common.wire import subjects
from parley.common.wire.rooms import Delivery, RoomEvent
from parley.framework import ConnectionContext, Next, Router, Service
from parley.testing import running
from tests.support.bus import fresh, running_bus
from tests.support.gateway.lives import hand
from tests.support.proxy import Proxy

LATE = 0.1
"""Seconds by which whatever the gateway says reaches the broker late."""

router = Router[None]("/first")


async def welcome(connection: ConnectionContext, call_next: Next) -> None:
    """Put everybody into a room of their own, which nobody has been in."""
    await connection.join(f"of-{connection.identity.user_id}")
    await call_next()


router.use_connection(welcome)


async def test_what_is_published_right_after_connect_is_not_missed(nats_url: str):
    async with (
        Proxy.running(nats_url) as proxy,
        running(Service("first", router), settings={"nats_url": proxy.url}) as server,
        running_bus(nats_url) as publisher,
        hand(server, fresh("user")) as client,
    ):
        proxy.delay("up", LATE)
        await client.joined("/first")
        event = Delivery([RoomEvent("tick", b"1")])
        await publisher.publish(subjects.room("/first", f"of-{client.user}"), event.encode())
        text = await client.text()
        assert json.loads(text.removeprefix("42/first,")) == ["tick", 1]
