"""Erasure under writers: all that a user wrote is erased, and single messages, while everybody goes on writing.

Drives `erasures` and `executor` of `parley.chat.log.erasure`, beside the writers of `append` and under the same faults.
Who executes is killed now and then, and goes on from what the database says.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
from typing_extensions import override

from parley.chat.domain.batch_state import BatchDecision
from parley.chat.domain.custom_data import custom_text
from parley.chat.domain.encoding.compact import unpack
from parley.chat.domain.encoding.event_codec import ERASED
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.erasure import TEXTS
from parley.chat.domain.membership import JoinRoom, LeaveRoom, TransferRoom
from parley.chat.domain.rooms import CreateRoom, UpdateRoom
from parley.chat.log.database import DATABASE_ERRORS
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.executor import Executor
from parley.chat.log.event_store import event_row
from parley.chat.log.writer import LATE_SECONDS
from parley.common.errors import Reject
from parley.common.wire.identity import Identity
from tests.simulation.append import PATIENCE, Append, Sent
from tests.simulation.erasures import covers
from tests.simulation.loop import Process
from tests.simulation.tables import Row
from tests.simulation.world import World

COLUMNS = ("room_id", "sequence", "number", "event_id", "type", "version", "actor_id", "actor_name", "command_id",
           "fingerprint", "data", "recorded_at")  # fmt: skip


class Erase(Append):
    """One run."""

    def __init__(self, world: World) -> None:
        super().__init__(world, replicas=world.rng.choice((1, 2)), senders=4, commands=world.rng.choice((8, 16)))
        self._asking = self.identities[2:]
        """Who may ask for it. The others go on writing."""
        self._process: Process = world.process("eraser")

    @override
    async def work(self) -> None:
        """Ask for erasures in the middle of it, and be done with them in the end."""
        world, loop = self.world, self.world.loop
        asked = asyncio.ensure_future(self._ask_for_erasures())
        killing = asyncio.ensure_future(self._kill_now_and_then())
        await super().work()
        await asked
        killing.cancel()
        if not self._process.alive:
            self._start()
        deadline = loop.now + PATIENCE
        while any(one["completed_at"] is None for one in world.database.tables.erasures.values()):
            if loop.now > deadline:
                world.require(False, "not erased:", *world.database.tables.erasures.values())
                return
            await asyncio.sleep(0.1)

    @override
    async def _make_rooms(self) -> None:
        """Make one room more, by somebody whom it may be asked to erase, and which others may rename by then."""
        await super()._make_rooms()
        rng, maker, heir = self.world.rng, self._asking[-1], self.identities[0]
        key = self.secret.new_room(maker.user_id, "made")
        self.rooms.append(room := public_room_id(key))
        made = Sent(CreateRoom("made", f"By {maker.user_id}", topic=f"Of {maker.user_id}"), maker)
        joins = [Sent(JoinRoom(self._id(), room), one) for one in self.identities if one is not maker]
        given = [Sent(TransferRoom(self._id(), room, heir.user_id), maker)] if rng.random() < 0.5 else []
        for sent in (made, *joins, *given):
            self.sent.append(sent)
            await self.clients.spawn(self._settle(sent))

    @override
    def _draw(self, identity: Identity) -> Sent:
        """Some name rooms, by texts that say whose they are."""
        rng = self.world.rng
        if rng.random() < 0.8:
            return super()._draw(identity)
        said = f"{self._numbers} by {identity.user_id}"
        texts: dict[str, Any] = {
            text: {"note": said} if text == "custom" else f"{text} {said}" for text in TEXTS if rng.random() < 0.6
        }
        command = UpdateRoom(self._id(), rng.choice((self.rooms[-1], rng.choice(self.rooms))), **texts)
        return Sent(command if texts else LeaveRoom(command.id, self.rooms[-1]), identity)

    @override
    def check(self) -> None:
        """Whoever was erased is in no event from before, by id, name or text, whoever wrote it."""
        super().check()
        for erasure in self.world.database.tables.erasures.values():
            self._check_forgotten(erasure)

    @override
    async def announced(self, decision: BatchDecision) -> None:
        """A batch that was held up is not told to gateways with what was asked to be erased meanwhile."""
        asked = self.world.database.tables.erasures.values()
        since = self.world.database.clock() - timedelta(seconds=LATE_SECONDS)
        for event in (*decision.appended, *decision.repeated.values()):
            row = Row(zip(COLUMNS, event_row(event), strict=True))
            for one in asked if not event.erased else ():
                told = event.recorded_at < one["requested_at"] < since and covers(one, row)
                self.world.require(not told, "published though it was to be erased:", event)
        await super().announced(decision)

    async def _ask_for_erasures(self) -> None:
        rng = self.world.rng
        self._process.spawn(self._execute())
        await asyncio.sleep(rng.random() * 1.5)
        for _ in range(rng.choice((1, 2, 3))):
            await self._ask_for(rng.random() < 0.3)
            await asyncio.sleep(rng.random() * 1.5)

    async def _ask_for(self, message: bool) -> None:
        rng, tables = self.world.rng, self.world.database.tables
        while True:
            try:
                session: Any = await asyncpg.connect("")
                if message:
                    room_id = rng.choice(sorted(tables.rooms))
                    sequence = 1 + int(rng.random() * tables.rooms[room_id]["head"])
                    erasure = await erasures.request_message(session, public_room_id(room_id), sequence)
                else:
                    erasure = await erasures.request_user(session, rng.choice(self._asking).user_id)
                self.world.note("to be erased:", erasure)
                self.world.count("erasures")
                return
            except Reject:
                message = False  # there may be none
                await asyncio.sleep(0.1)
            except DATABASE_ERRORS:
                await asyncio.sleep(0.1)

    async def _execute(self) -> None:
        """Execute what is open, as the process does that holds the lock for it."""
        while True:
            try:
                session: Any = await asyncpg.connect("")
                while True:
                    for erasure in await erasures.open_erasures(session):
                        await Executor(session, pause=0.002).run(erasure)
                        self._check_erased(erasure.id)
                    await asyncio.sleep(0.05)
            except DATABASE_ERRORS as error:
                self.world.note("cannot erase now:", repr(error))
                await asyncio.sleep(0.1)

    async def _kill_now_and_then(self) -> None:
        rng = self.world.rng
        while True:
            await asyncio.sleep(0.3 + rng.random())
            self.world.note("kill eraser")
            self._process.kill()
            await asyncio.sleep(rng.random() * 0.3)
            self._start()

    def _start(self) -> None:
        self._process = self.world.process("eraser")
        self._process.spawn(self._execute())

    def _check_erased(self, identifier: Any) -> None:
        """When it is completed, nothing that it covers is left, whenever it was written."""
        tables = self.world.database.tables
        erasure: Any = tables.erasures[identifier]
        for room_id, events in tables.events.items():
            for sequence, event in events.items():
                before = event["recorded_at"] <= erasure["completed_at"]
                left = before and event["version"] != ERASED and covers(erasure, event)
                self.world.require(not left, f"event {sequence} of {room_id} is not erased:", dict(event))
        self._check_forgotten(erasure)

    def _check_forgotten(self, erasure: Row) -> None:
        tables = self.world.database.tables
        user_id: Any = erasure["user_id"]
        if user_id is None:
            return
        for room_id, events in tables.events.items():
            room = tables.rooms[room_id]
            for sequence, event in events.items():
                if event["recorded_at"] > erasure["completed_at"]:
                    continue
                data = json.loads(event["data"])
                for text in TEXTS if room["member_count"] else ():
                    # The present texts of a room are those of its members.
                    if room[f"{text}_kept_in"] == sequence and _as_kept(data[text]) == room[text]:
                        del data[text]
                found = f"{json.dumps(data)} {event['actor_name']} {unpack(event['actor_id'])}"
                number = user_id.removeprefix("u")
                there = user_id in found or f"User {number}" in found
                self.world.require(not there, f"{user_id} is still in event {sequence} of {room_id}:", dict(event))


def _as_kept(said: Any) -> Any:
    """What a room keeps of a text: custom data as JSON, anything else as it is."""
    return custom_text(said) if isinstance(said, dict) else said
