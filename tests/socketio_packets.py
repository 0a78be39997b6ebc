"""A whole Socket.IO packet from its text, as the gateway reads it bit by bit."""

from __future__ import annotations

from typing import Any, NamedTuple

from parley.gateway.socketio.packets import (
    CONNECT,
    DISCONNECT,
    EVENTS,
    AckPacket,
    EventPacket,
    Head,
    read_ack,
    read_connect,
    read_event,
    read_head,
)


class Whole(NamedTuple):
    """A packet's head, and what its payload turned out to be."""

    head: Head
    content: EventPacket | AckPacket | dict[str, Any] | None


def parse(text: str) -> Whole:
    """Raises `MalformedPacket` or `InvalidPayload`."""
    head = read_head(text)
    if head.kind == DISCONNECT:
        return Whole(head, None)
    if head.kind == CONNECT:
        return Whole(head, read_connect(text, head.start))
    if head.kind in EVENTS:
        event, args = read_event(text, head.start)
        return Whole(head, EventPacket(head.namespace, head.ack_id, event, args))
    return Whole(head, AckPacket(head.namespace, head.ack_id or 0, read_ack(text, head.start)))
