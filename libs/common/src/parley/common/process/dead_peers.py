"""TCP options by which the kernel notices within seconds that the other side is gone.

After a failover, or when a NAT entry was dropped, nobody sends a reset. By default the kernel then takes a connection
for alive for two hours if it is idle (tcp_keepalive_time), and for about 15 minutes if it has sent something
(tcp_retries2). Chat and auth set these options on their connections to Postgres.
"""

from __future__ import annotations

import socket

IDLE_SECONDS = 5
"""Seconds without traffic after which the kernel probes the other side."""
PROBE_SECONDS = 2
"""Seconds between two probes."""
PROBES = 3
"""Unanswered probes after which the kernel ends the connection."""


def notice_dead_peer(connection: socket.socket | None) -> None:
    """Set keepalive and, where the system has it, TCP_USER_TIMEOUT. Sockets of other families are left alone."""
    if connection is None or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_SECONDS),
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
        # The kernel sends no probes while data waits to be acknowledged; this bounds that wait, in milliseconds.
        ("TCP_USER_TIMEOUT", (IDLE_SECONDS + PROBE_SECONDS * PROBES) * 1000),
    ):
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
