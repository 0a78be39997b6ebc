"""TCP options by which the kernel notices within seconds that the other side is gone without a word.

After a failover, or when a NAT entry was dropped, nobody sends a reset: a socket looks alive for as long as TCP is
patient, which is two hours when it is idle and a quarter of an hour when it has something to say.
"""

from __future__ import annotations

import socket

IDLE_SECONDS = 5
"""After so long without a word the other side is asked whether it is there."""
PROBE_SECONDS = 2
"""Between two such questions."""
PROBES = 3
"""Unanswered questions after which the connection is over."""


def notice_dead_peer(connection: socket.socket | None) -> None:
    """Set keepalive and, where the system has it, TCP_USER_TIMEOUT. Sockets of other families are left alone."""
    if connection is None or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_SECONDS),
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
        # Keepalive is silent while sent data waits for its acknowledgement; this bounds that wait, in milliseconds.
        ("TCP_USER_TIMEOUT", (IDLE_SECONDS + PROBE_SECONDS * PROBES) * 1000),
    ):
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
