"""The emitter of code that is not async, against a service's clients on real NATS and two gateways."""

from __future__ import annotations

import asyncio
import sys
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


FORKING = """
import os, sys
from parley.framework.remote.blocking import BlockingEmitter

# As in a module of a Django project: made when it is loaded, and kept for the whole program.
everybody = BlockingEmitter(sys.argv[1], "/shop")
everybody.to_user("ann").emit("price", "before the fork")
workers = []
for number in range(2):
    if (worker := os.fork()) == 0:
        everybody.to_user("ann").emit("price", f"worker {number}")
        os._exit(0)
    workers.append(worker)
for worker in workers:
    assert os.waitpid(worker, 0)[1] == 0
everybody.to_user("ann").emit("price", "after the fork")
everybody.close()
everybody.to_user("ann").emit("price", "opened again")
"""


async def test_an_emitter_of_a_module_works_in_the_workers_that_a_web_server_forks():
    async with running(service) as server:
        ann = await server.connect("/shop", user="ann")
        program = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKING, server.nats_url)
        assert await asyncio.wait_for(program.wait(), 30) == 0
        told = [(await ann.event("price"))[0] for _ in range(5)]
        assert (told[0], *told[3:]) == ("before the fork", "after the fork", "opened again")
        assert sorted(told[1:3]) == ["worker 0", "worker 1"]
