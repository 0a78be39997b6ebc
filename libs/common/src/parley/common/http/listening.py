"""The sockets that a server accepts connections on, and what the kernel may take in for each connection."""

from __future__ import annotations

import socket

ACCEPTED_PER_TURN = 4
"""Connections that are accepted in a turn of the loop."""
RECEIVE_BUFFER = 64 * 1024
"""Bytes of a connection that the kernel takes in before anybody reads: a client 100 ms away sends 5 Mbit/s."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address. Raises `OSError` when that is taken, or none of this machine's."""
    family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def listeners(bound: socket.socket) -> list[socket.socket]:
    """Return descriptors of one bound socket, for a server to accept on each of them.

    libuv accepts one connection per descriptor and turn of the loop. With a single one, who connects while somebody
    floods the server would wait a turn for each connection before theirs.

    Connections inherit the receive buffer. By itself the kernel lets it grow to megabytes, and the loop reads in pieces
    of 256,000 bytes before a protocol can say that it is enough: many connections together would own a turn, and their
    pieces memory.
    """
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return [bound, *(bound.dup() for _ in range(ACCEPTED_PER_TURN - 1))]
