"""What a session is given: the limits that it keeps to, its owner, and the transports that it needs. Pure.

The Protocols keep `session` free of I/O. The server has a WebSocket and two kinds of HTTP requests for them; tests and
the fuzzer's model have classes that record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from parley.engineio.packets import Packet

if TYPE_CHECKING:
    from parley.engineio.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of an engine's sessions. Times are in seconds, sizes in bytes."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    ping_grace: float = 0.0
    """The time that is added to the `pingInterval` that clients are told, so that they forgive a late ping."""
    upgrades: bool = True
    """Whether a client that polls may move onto a WebSocket."""
    upgrade_timeout: float = 10.0
    max_payload: int = 1_000_000
    max_unjoined: int = 128 * 1024
    """The `max_payload` of a session that has joined no namespace."""
    max_buffer: int = 1024 * 1024
    """Bytes that may wait to be written to a client. One that has more waiting is ended as `slow`."""
    max_packets: int = 1000
    max_per_address: int = 10_000
    control_per_second: float = 10.0
    control_burst: int = 100
    max_input_memory: int = 256 * 1024 * 1024
    """The input budget: bytes that all clients may have sent and nobody has taken yet."""
    max_unjoined_memory: int = 32 * 1024 * 1024
    """The part of it for sessions that have joined no namespace."""
    max_output_memory: int = 64 * 1024 * 1024
    """The output budget: bytes that all clients may leave unread."""


class SessionServer(Protocol):
    """The owner of a session: the engine, or in tests something that records."""

    limits: Limits

    def clock(self) -> float:
        """Return the time in monotonic seconds."""
        ...

    def received(self, session: Session, data: str | bytes) -> None:
        """Called with each message of the client."""
        ...

    def ended(self, session: Session, reason: str) -> None:
        """Called once, when the session is over."""
        ...

    def write_soon(self, session: Session) -> None:
        """Have `write` called at the end of this turn of the loop."""
        ...

    def dropped(self) -> None:
        """Called when a volatile packet was not sent."""
        ...

    def limited(self, limit: str) -> None:
        """Called when the session is ended because of the limit of this name."""
        ...

    def unread(self, session: Session, size: int) -> None:
        """Called when the bytes that a polling client leaves unread have changed, if they are or were many."""
        ...

    def joining(self, session: Session) -> None:
        """Called right before the session counts as one that has joined a namespace."""
        ...


class Socket(Protocol):
    """A WebSocket, as a session uses it. None of its methods waits."""

    @property
    def congested(self) -> bool:
        """Whether the client reads slower than it is sent to."""
        ...

    def push(self, packet: Packet) -> None:
        """Write a packet soon, in order."""
        ...

    def allow(self, size: int) -> None:
        """Accept messages up to this size from now on."""
        ...

    def close(self, code: int) -> None:
        """Write what waits, then close with this code."""
        ...

    def abort(self) -> None:
        """Close at once, without writing what waits."""
        ...


class Poll(Protocol):
    """A GET that waits for packets."""

    def answer(self, packets: list[Packet]) -> None:
        """Complete the request with packets; none means that the session is gone."""
        ...


class Post(Protocol):
    """A POST whose body is still coming."""

    def abandon(self) -> None:
        """Stop reading the body: the session is over."""
        ...


class NotPolling(Exception):
    """Raised for a polling request to a session that is over, on a WebSocket, or polled already."""
