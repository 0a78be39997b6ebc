"""A room as events lead to it, and what a command leads to in it, for tests of rules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import MemberChanged, MemberJoined
from parley.chat.domain.room import ChatCommand, ChatEvent, decide, evolve
from parley.chat.domain.rooms import RoomCreated
from parley.chat.domain.state import DecisionContext, Room
from parley.common.errors import Reject
from parley.common.wire.identity import Identity

ANN, BEN, CAT, DAN = (Identity(f"u_{name.lower()}", name) for name in ("Ann", "Ben", "Cat", "Dan"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOM = public_room_id(1)

Happened = tuple[ChatEvent, Identity]


def given(*events: Happened, at: datetime = NOW) -> Room:
    """The room that these events, by these actors, lead to."""
    room: Room | None = None
    for sequence, (event, actor) in enumerate(events, start=1):
        room = evolve(room, event, 1, sequence, NamedUser(actor.user_id, actor.name), at)
    assert room is not None
    return room


def with_members(*who: Identity, moderators: tuple[Identity, ...] = (), private: bool = False) -> list[Happened]:
    """Ann made a room, the others joined, and some of them moderate it."""
    made: list[Happened] = [(RoomCreated("General", "private" if private else "public"), ANN)]
    made += [(MemberJoined(NamedUser(one.user_id, one.name)), one) for one in (*who, *moderators)]
    return made + [(MemberChanged(NamedUser(one.user_id, one.name), "moderator"), ANN) for one in moderators]


def decided(command: ChatCommand, room: Room | None, identity: Identity, **context: Any) -> list[ChatEvent]:
    """The events a command leads to."""
    context.setdefault("now", NOW)
    return decide(command, room, DecisionContext(identity, **context))


def refused(command: ChatCommand, room: Room | None, identity: Identity, **context: Any) -> Reject:
    """What a command is refused with."""
    with pytest.raises(Reject) as caught:
        decided(command, room, identity, **context)
    return caught.value
