"""Who is there, asked of gateways on a real NATS: however many ask, gateways have few questions in hand."""

from __future__ import annotations

import asyncio

from parley.chat.delivery.hints import NAMESPACE
from parley.chat.log.database import Pool
from parley.chat.signals.present_members import PresentMembers
from parley.chat.signals.room_places import RoomPlaces
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.identity import Identity
from parley.common.wire.operations import AskPresent, decode_operation
from parley.framework import Emitter


async def test_many_who_ask_what_they_are_shown_as_are_asked_about_together(pool: Pool, bus: Bus):
    asked: list[int] = []

    def hear(data: bytes) -> None:
        operation = decode_operation(data)
        assert isinstance(operation, AskPresent)
        asked.append(len(operation.rooms))

    bus.listen(subjects.sockets(NAMESPACE), hear)
    present = PresentMembers(Emitter(bus, NAMESPACE), RoomPlaces(pool))
    users = [Identity(f"u_{number}", "") for number in range(150)]
    states = await asyncio.gather(*(present.own(user) for user in [*users, *users]))
    assert {state.state for state in states} == {"offline"}
    assert asked == [len(users)]
    await present.close()
