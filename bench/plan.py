"""What is to be measured, as the command line says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and how long."""

    servers: frozenset[str]
    seconds: float
    recipients: tuple[int, ...]
    in_flight: tuple[int, ...]
    chat_in_flight: tuple[int, ...]
    rates: tuple[int, ...]
    rooms: tuple[int, ...]
    databases: tuple[str, ...]
    rounds: int
    connections: tuple[int, ...]
    floods: tuple[str, ...]
    flood_seconds: float
    events: int
    revision: str
    messages_indexed: int

    def messages(self, *options: str) -> tuple[str, ...]:
        """The options of a load that sends messages."""
        return ("-d", str(self.seconds), "-u", str(WARM_UP), *options)


WARM_UP = 1.0
PATIENCE = 240.0
"""Seconds for all to connect, or to drain, at most."""
