"""The emitter of code that is not async, against a service's clients on real NATS and two gateways."""

from __future__ import annotations

import asyncio
import threading

from parley.framework import BlockingEmitter, Context, Router, Service
from parley.testing import running

router = Router("/shop")


@router.on("enter")
async def enter(context: Context, room: str) -> None:
    """Be in a room."""
    await context.join(room)


service = Service("shop", router)


async def test_a_script_reaches_rooms_and_users_and_moves_and_ends_connections():
    async with running(service, gateways=2) as server:
        ann = await server.connect("/shop", user="ann", gateway=0)
        ben = await server.connect("/shop", user="ben", gateway=1)
        for client in (ann, ben):
            await client.emit("enter", "counter")

        def script() -> tuple[list[str], int, int]:
            assert threading.current_thread() is not threading.main_thread()
            with BlockingEmitter.connected(server.nats_url, "/shop") as everybody:
                everybody.to("counter").except_(ben.sid).emit("price", {"usd": 5})
                everybody.to_user("ben").emit("hello", b"\x00")
                who = sorted(connection.user_id for connection in everybody.to("counter").fetch_connections())
                joined = everybody.to_user("ann").join("vault")
                everybody.to("vault").emit("secret")
                return who, joined, everybody.to("counter").disconnect(close=True)

        assert await asyncio.to_thread(script) == (["ann", "ben"], 1, 2)
        assert await ann.event("price") == [{"usd": 5}]
        assert await ann.event("secret") == []
        assert await ben.event("hello") == [b"\x00"]
        assert [event.event for event in ben.received] == ["hello"]
        for client in (ann, ben):
            await client.disconnected()


async def test_what_a_short_script_emits_last_is_not_lost():
    async with running(service) as server:
        ann = await server.connect("/shop", user="ann")

        def script() -> None:
            with BlockingEmitter.connected(server.nats_url, "/shop") as everybody:
                everybody.emit("closing")

        await asyncio.to_thread(script)
        assert await ann.event("closing") == []
