"""What a session keeps to, and what it needs of the transports it is on, pure.

The protocols keep `session` free of I/O: in the server they are a WebSocket and two kinds of HTTP requests, in the
tests and in the fuzzer's model something that records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from parley.engineio.packets import Packet


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    ping_grace: float = 0.0
    """What clients are told beyond `ping_interval`, so that a late ping is forgiven."""
    upgrades: bool = True
    """Whether a client that polls may move onto a WebSocket."""
    upgrade_timeout: float = 10.0
    max_payload: int = 1_000_000
    max_unjoined: int = 128 * 1024
    """What `max_payload` is for a session that has joined no namespace."""
    max_buffer: int = 1024 * 1024
    max_packets: int = 1000
    max_per_address: int = 10_000
    control_per_second: float = 10.0
    control_burst: int = 100
    max_input_memory: int = 256 * 1024 * 1024
    """What all sessions may have sent that has not been passed on yet."""
    max_unjoined_memory: int = 32 * 1024 * 1024
    """The same for those that have joined no namespace."""


class Socket(Protocol):
    """A WebSocket, as a session uses it."""

    @property
    def choked(self) -> bool:
        """Whether the client reads slower than it is sent to."""
        ...

    def push(self, packet: Packet) -> None:
        """Write soon, in order."""
        ...

    def allow(self, size: int) -> None:
        """Take messages of this size from now on."""
        ...

    def close(self, code: int) -> None:
        """Write what is left, then close."""
        ...

    def abort(self) -> None:
        """Close at once; the client does not read anyway."""
        ...


class Poll(Protocol):
    """A polling request that waits for its answer."""

    def answer(self, packets: list[Packet]) -> None:
        """Complete the request; without a packet the session is gone."""
        ...


class Post(Protocol):
    """A polling request whose body is still coming."""

    def abandon(self) -> None:
        """Read no further; the session is over."""
        ...


class NotPolling(Exception):
    """A polling request for a session that is on a WebSocket, over, or polled twice at once."""
