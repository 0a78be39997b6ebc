"""The sockets that a server accepts connections on, and how many bytes the kernel buffers for each connection."""

from __future__ import annotations

import socket

ACCEPTED_PER_TURN = 4
"""Connections that are accepted in a turn of the loop, and so descriptors of the listening socket."""
RECEIVE_BUFFER = 64 * 1024
"""Bytes that the kernel buffers for a connection: enough for 5 Mbit/s from a client 100 ms away."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address. Raises `OSError` when the address is taken, or not this machine's."""
    family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # A restarted server may bind while connections of the one before are in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def listeners(bound: socket.socket) -> list[socket.socket]:
    """Return several descriptors of one bound socket, for a server to accept on each of them.

    uvloop's libuv accepts one connection per descriptor and turn of the loop. With a single descriptor, a client that
    connects during a flood of connections would wait one turn for each of those before it.

    Connections inherit the receive buffer. The kernel would let it grow to megabytes, and libuv reads up to 256,000
    bytes before a protocol can pause it: many connections together would own a turn of the loop and much memory.
    """
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return [bound, *(bound.dup() for _ in range(ACCEPTED_PER_TURN - 1))]
