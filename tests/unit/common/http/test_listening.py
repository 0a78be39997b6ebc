"""The sockets a server accepts on: several connections in a turn of the loop, none with much waiting in the kernel."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import uvloop

from parley.common.http.listening import ACCEPTED_PER_TURN, RECEIVE_BUFFER, bind, listeners


async def accepted(clients: int, descriptors: int) -> tuple[int, set[int]]:
    """How many turns of the loop it takes until all are accepted who connected while it stood still."""
    loop = asyncio.get_running_loop()
    buffers: list[int] = []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            one: socket.socket = transport.get_extra_info("socket")
            buffers.append(one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))

    bound = bind("127.0.0.1", 0)
    given = listeners(bound)
    for unused in given[descriptors:]:
        unused.close()
    servers = [await loop.create_server(Accepted, sock=each, backlog=256) for each in given[:descriptors]]
    turns = 0
    with ExitStack() as stack:
        for _ in range(clients):
            stack.enter_context(socket.create_connection(bound.getsockname()))
        while len(buffers) < clients:
            turns += 1
            await asyncio.sleep(0)
    for server in servers:
        server.close()
    return turns, set(buffers)


def test_a_turn_of_the_loop_accepts_several_connections():
    clients = 20 * ACCEPTED_PER_TURN
    turns, _ = uvloop.run(accepted(clients, ACCEPTED_PER_TURN))
    assert turns < clients / 2
    turns, _ = uvloop.run(accepted(clients, 1))
    assert turns >= clients, "which takes the several descriptors"


def test_the_kernel_takes_in_little_of_a_connection_before_anybody_reads_it():
    _, buffers = uvloop.run(accepted(3, ACCEPTED_PER_TURN))
    assert buffers == {2 * RECEIVE_BUFFER}, "of which the kernel keeps half for its own records"


def test_an_address_of_ipv6_is_bound_as_well():
    with bind("::1", 0) as bound:
        assert bound.getsockname()[0] == "::1"
