"""A whole Socket.IO packet from its text, as the gateway reads it bit by bit."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from parley.gateway.socketio.packets import (
    CONNECT,
    DISCONNECT,
    EVENTS,
    USUAL_EVENT,
    AckPacket,
    EventPacket,
    Head,
    InvalidPayload,
    MalformedPacket,
    read_ack,
    read_connect,
    read_event,
    read_head,
    read_usual_event,
)


class Whole(NamedTuple):
    """A packet's head, and what its payload turned out to be."""

    head: Head
    content: EventPacket | AckPacket | dict[str, Any] | None


def parse(text: str) -> Whole:
    """Raises `MalformedPacket` or `InvalidPayload`. Asserts that the short way of usual events reads the same."""
    usual = USUAL_EVENT.match(text)
    try:
        whole = _parse(text)
    except InvalidPayload:
        if usual is not None:
            with pytest.raises(InvalidPayload):
                read_usual_event(usual)
        raise
    except MalformedPacket:
        assert usual is None
        raise
    if usual is not None:
        assert (read_usual_event(usual), usual.start(3)) == (whole.content, whole.head.start)
    return whole


def _parse(text: str) -> Whole:
    head = read_head(text)
    if head.kind == DISCONNECT:
        return Whole(head, None)
    if head.kind == CONNECT:
        return Whole(head, read_connect(text, head.start))
    if head.kind in EVENTS:
        event, args = read_event(text, head.start)
        return Whole(head, EventPacket(head.namespace, head.ack_id, event, args))
    return Whole(head, AckPacket(head.namespace, head.ack_id or 0, read_ack(text, head.start)))
