"""A gateway that is stopped parts from its clients bit by bit, and they carry on at another by themselves."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import httpx
import pytest

from tests.support.clients.conversation import make_room
from tests.support.clients.people import People
from tests.support.clients.plain_http import plain_http
from tests.support.clients.stock_clients import HAS_JS_CLIENT
from tests.support.clients.talking import Conversation
from tests.support.stack.balancer import Balancer
from tests.support.stack.stack import Stack

DRAIN_SECONDS = 1.5
"""As `edge_stack` has it."""


async def test_clients_of_a_gateway_that_stops_move_to_another_over_some_time(edge_people: People, edge_stack: Stack):
    leaving = edge_stack.gateways[0]
    async with Balancer.running(edge_stack.gateways) as balancer, plain_http() as kept:
        kinds = [("python", 13), ("js", 2)] if HAS_JS_CLIENT else [("python", 15)]
        clients = [
            (await edge_people.join(kind=kind, gateway=balancer, transports=[transport]))[0]
            for transport in ("websocket", "polling")
            for kind, count in kinds
            for _ in range(count)
        ]
        moving = [client for client in clients if client.connects[0].startswith(f"{leaving.name}.")]
        staying = [client for client in clients if client not in moving]
        assert len(moving) == len(staying) == 15
        talkers = clients[::6]
        talk = Conversation(edge_people, talkers, await make_room(talkers[0], *talkers[1:]))
        await talk.goes_on(5)
        assert (await kept.get(f"{leaving.url}/readyz")).status_code == 200

        stopping = asyncio.create_task(asyncio.to_thread(leaving.stop))
        await moving[0].until(lambda: any(client.disconnects for client in moving), "the first to go", timeout=10)
        readiness = await kept.get(f"{leaving.url}/readyz")
        assert (readiness.status_code, "stopping" in readiness.text) == (503, True)
        async with plain_http() as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(f"{leaving.url}/socket.io/?EIO=4&transport=polling")

        for client in moving:
            await client.connected(2)
        assert await stopping == 0, leaving.log()
        await talk.goes_on(5)
        await talk.ends_whole()
        assert not any(client.disconnects for client in staying)
        assert all(len(client.disconnects) == 1 for client in moving)
        lost_at = sorted(client.lost_at[0] for client in moving)
        assert lost_at[-1] - lost_at[0] > DRAIN_SECONDS / 2
        assert max(later - earlier for earlier, later in pairwise(lost_at)) < DRAIN_SECONDS / 2
        leaving.start()
        await leaving.ready()
