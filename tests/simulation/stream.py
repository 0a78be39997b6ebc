"""Streams to devices: rooms are written to and moved in and out of, and everything on the way fails now and then.

Whatever happened, every device hears each of its rooms without gap or double, also across its returns; nobody hears
what comes after they left; and when all is well again, everybody who is a member hears the next message.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from parley.chat.domain.encoding.room_ids import public_room_id, room_key
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.domain.messages.reactions import AddReaction
from parley.chat.domain.rooms import CreateRoom
from parley.chat.log.event_store import stored_row
from tests.simulation.devices import Command, Device
from tests.simulation.log_checks import check_log, committed
from tests.simulation.marks import SENT_STORED, STORED, Marks
from tests.simulation.stack import Stack
from tests.simulation.world import World

AMENDING = 0.2
"""How often something is done about a message instead of saying something: oftener than people do, in so short runs."""
MARKING = 0.4
"""How often somebody marks a room as read, or as unread, beside saying something."""
CALM_MARKS = 3
"""What each device says of what it has read when all is well again."""
LAST_WORDS = 20.0
"""Simulated seconds for which messages are lost, doubled and late after the other faults, unless all is said before."""


@dataclass(frozen=True)
class Weather:
    """What goes wrong, and how often. A fault is drawn from `kinds` every fraction of a second."""

    kinds: tuple[str, ...]
    loses: tuple[float, ...] = (0.0,)
    doubles: tuple[float, ...] = (0.0,)
    delays: tuple[float, ...] = (0.0,)
    moves: float = 0.1
    """How often a device joins or leaves instead of saying something."""
    recovery: tuple[int, ...] = (0,)
    pause: tuple[float, ...] = (1.0,)
    """Seconds between two faults at most."""
    lasts: tuple[float, ...] = (2.0, 4.0)
    """Seconds for which faults go on."""
    slow: tuple[float, ...] = (0.02,)
    """How often a commit takes a hundred times as long."""
    quiet: float = 0.0
    """How often nobody hears of a commit but from the log."""
    settling: float = 150.0
    """Simulated seconds after the last fault in which everybody hears again what is theirs."""


class Stream:
    """One run."""

    def __init__(self, world: World, weather: Weather) -> None:
        rng = world.rng
        self.world = world
        self.weather = weather
        self.stack = Stack(
            world,
            chats=rng.choice((1, 2, 2)),
            gateways=rng.choice((1, 2, 2)),
            recovery=rng.choice(weather.recovery),
            together=rng.random() < 0.5,
            quiet=rng.random() < weather.quiet,
        )
        self.marks = Marks(world)
        self.devices = [Device(world, self.stack, self.marks, user, 0) for user in ("ann", "ben", "cat")]
        if rng.random() < 0.5:
            self.devices.append(Device(world, self.stack, self.marks, "ben", 1))
        self.rooms: list[str] = []
        self.sent: list[Command] = []
        self._ids = 0
        self._bursts = 0
        self._authors: dict[str, str] = {}
        """Of commands."""
        self._amended: set[tuple[str, int]] = set()
        """Messages that their authors have edited or deleted, or tried to."""

    async def run(self) -> None:
        """Begin in peace, go on under faults, and end in peace."""
        world = self.world
        await self._begin()
        faults = world.loop.physics.spawn(self._faults())
        talking = [device.process.spawn(self._talk(device)) for device in self.devices]
        await faults
        # What is said last may be lost as well, and nothing that is said later tells of it.
        await asyncio.wait(talking, timeout=LAST_WORDS)
        await asyncio.sleep(world.rng.random())
        world.broker.loses = world.broker.doubles = world.broker.delays = 0.0
        try:
            async with asyncio.timeout(self.weather.settling):
                await asyncio.gather(*talking)
        except TimeoutError:
            world.require(False, "commands without an outcome:", [str(s.command) for s in self.sent if s.acked is None])
            return
        await self._end()
        self._check()

    # -- what devices do -------------------------------------------------------------------------------------------

    def _id(self) -> str:
        self._ids += 1
        return f"c{self._ids}"

    async def _do(self, device: Device, command: Any, burst: int = 0) -> Command:
        sent = Command(command, burst=burst)
        self.sent.append(sent)
        self._authors[command.id] = device.user_id
        await device.settle(sent)
        if sent.acked is not None and sent.room and not isinstance(command, JoinRoom | InviteUser):
            there = committed(self.world, room_key(sent.room) or 0, device.user_id, command.id, sent.acked)
            self.world.require(there, "acked, and not in the log:", command, sent.acked)
        return sent

    async def _begin(self) -> None:
        rng = self.world.rng
        while not self.stack.all_up:
            await asyncio.sleep(0.01)
        ann, ben, cat, *_ = self.devices
        for number in range(rng.choice((1, 2))):
            kind = "private" if rng.random() < 0.3 else "public"
            made = await ann.process.spawn(self._do(ann, CreateRoom(self._id(), f"Room {number}", kind)))
            self.rooms.append(made.room)
            for device in (ben, cat):
                if kind == "private":
                    invite = InviteUser(self._id(), made.room, UserRef(device.user_id))
                    await ann.process.spawn(self._do(ann, invite))
                await device.process.spawn(self._do(device, JoinRoom(self._id(), made.room)))

    async def _talk(self, device: Device) -> None:
        rng = self.world.rng
        loose: list[Any] = []
        for _ in range(rng.choice((4, 8))):
            await asyncio.sleep(rng.random() * 0.8)
            if self.marks.rng.random() < MARKING:
                loose.append(asyncio.ensure_future(self.marks.say(device)))
            room = rng.choice(self.rooms)
            if rng.random() < AMENDING and (command := self._amending(device)) is not None:
                loose.append(asyncio.ensure_future(self._do(device, command)))
                continue
            if device.user_id != "ann" and rng.random() < self.weather.moves:
                move = rng.choice((JoinRoom, LeaveRoom))
                await self._do(device, move(self._id(), room))
                continue
            self._bursts += 1
            for _ in range(rng.choice((1, 1, 3))):
                work = self._do(device, SendMessage(self._id(), room, f"hello {self._ids}"), self._bursts)
                loose.append(asyncio.ensure_future(work))
        await asyncio.gather(*loose)

    def _amending(self, device: Device) -> Any:
        """Something about a message: a reaction to anybody's, or what becomes of one's own, once."""
        rng = self.world.rng
        said = [one for one in self.sent if isinstance(one.command, SendMessage) and one.acked]
        if not said:
            return None
        one = rng.choice(said)
        room, message = one.room, one.acked or 0
        if (room, message) in self._amended or device.user_id != self._authors[one.command.id]:
            return AddReaction(self._id(), room, message, f":{self._ids}:")
        self._amended.add((room, message))
        if rng.random() < 0.3:
            return DeleteMessage(self._id(), room, message)
        return EditMessage(self._id(), room, message, f"edit {self._ids}", 1)

    # -- what goes wrong -------------------------------------------------------------------------------------------

    async def _faults(self) -> None:
        world, rng, weather = self.world, self.world.rng, self.weather
        broker, database = world.broker, world.database
        broker.loses, broker.doubles = rng.choice(weather.loses), rng.choice(weather.doubles)
        broker.delays, broker.reorders = rng.choice(weather.delays), rng.random() < 0.3
        database.slow = rng.choice(weather.slow)
        kinds = rng.sample(weather.kinds, min(len(weather.kinds), rng.choice((1, 2, 3))))
        ends, pause = world.loop.now + rng.choice(weather.lasts), rng.choice(weather.pause)
        while world.loop.now < ends:
            await asyncio.sleep(rng.random() * pause)
            kind = rng.choice(kinds)
            world.note("fault:", kind)
            if kind == "device":
                rng.choice(self.devices).lose(rng.choice((0.001, 0.1, 3.0)) * rng.random())
            elif kind == "database":
                if database.up:
                    database.crash(seconds := rng.random())
                    self.marks.fault(seconds)
            elif kind == "all chats":
                self.marks.fault(seconds := rng.random() * 3)
                for chat in self.stack.chats:
                    if chat.process.alive:
                        chat.kill(seconds)
            elif kind == "nats":
                self.marks.fault(seconds := rng.random() * 2)
                for replica in self.stack.replicas:
                    if replica.process.alive:
                        replica.bus.cut(seconds * (0.9 + 0.1 * rng.random()))
            else:
                self._fault_of_process(kind)
        database.slow = 0.0

    def _fault_of_process(self, kind: str) -> None:
        rng = self.world.rng
        replicas: Any = self.stack.chats if kind.endswith("chat") else self.stack.gateways
        replica = rng.choice(replicas)
        if not replica.process.alive or not replica.up:
            return
        if kind.startswith("kill"):
            replica.kill(seconds := rng.random())
        elif kind.startswith("stall"):
            replica.process.stall(seconds := rng.choice((0.2, 4.0)) * rng.random())
        else:
            seconds = rng.choice((0.3, 3.0)) * rng.random()
            replica.bus.cut(seconds, unnoticed=seconds * rng.choice((0.0, rng.random())))
        self.marks.fault(seconds)

    # -- the end ---------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Until everybody hears again what is theirs, and then one more message in each room."""
        ann = self.devices[0]
        await self._until_heard("when all was well again")
        for room in self.rooms:
            await ann.process.spawn(self._do(ann, SendMessage(self._id(), room, "the last")))
        await self._until_heard("of the last messages")
        await asyncio.gather(*(device.process.spawn(self._mark_in_peace(device)) for device in self.devices))
        await asyncio.sleep(SENT_STORED)
        for device in self.devices:
            for room in sorted(device.cursors):
                self.marks.check_stored(await device.process.spawn(self.marks.mark(device, room, 0)))

    async def _mark_in_peace(self, device: Device) -> None:
        for _ in range(CALM_MARKS):
            await asyncio.sleep(STORED * self.marks.rng.random() * 1.5)
            await self.marks.say(device)

    async def _until_heard(self, when: str) -> None:
        loop = self.world.loop
        deadline = loop.now + self.weather.settling
        while True:
            missing = self._missing()
            if not missing:
                break
            if loop.now > deadline:
                self.world.require(False, "not heard", when, *missing)
                break
            await asyncio.sleep(0.25)
        # What nobody may hear would be here by now.
        await asyncio.sleep(0.25)

    def _missing(self) -> list[str]:
        tables = self.world.database.tables
        missing: list[str] = []
        for device in self.devices:
            if not device.connected:
                missing.append(f"{device.name} is not connected")
                continue
            for room in self.rooms:
                room_id = room_key(room) or 0
                member = tables.members[room_id].get(device.user_id)
                head = tables.rooms[room_id]["head"]
                # Who came fresh has no cursor before the next event.
                if member is not None and member["state"] == "joined" and device.cursors.get(room, head) < head:
                    missing.append(f"{device.name} has {device.cursors.get(room)} of {head} in {room}")
        return missing

    def _check(self) -> None:
        check_log(self.world)
        for sent in self.sent:
            self.world.require(len(set(sent.answers)) <= 1, "acked with different sequences:", sent)
        self.marks.check(self.sent, self._authors)
        for device in self.devices:
            self._check_stays(device)
        bursts: defaultdict[int, list[Command]] = defaultdict(list)
        for sent in self.sent:
            if sent.burst and sent.attempts == 1 and sent.acked is not None:
                bursts[sent.burst].append(sent)
        for burst in bursts.values():
            sequences = [sent.acked or 0 for sent in burst]
            self.world.require(
                sequences == sorted(sequences), "out of order:", [(s.command.id, s.acked) for s in burst]
            )

    def _check_stays(self, device: Device) -> None:
        """Nobody hears what comes after they left for the last time."""
        last: dict[str, float] = {}
        for room_id, events in self.world.database.tables.events.items():
            for sequence in sorted(events):
                joins, leaves = stored_row(events[sequence]).joined_and_left()
                if joins == device.user_id:
                    last[public_room_id(room_id)] = float("inf")
                elif leaves == device.user_id:
                    last[public_room_id(room_id)] = sequence
        for room, sequence in device.received:
            at = f"{device.name} hears {sequence} of {room}, where it was until {last.get(room)}"
            self.world.require(sequence <= last.get(room, -1), at)


GAPS = Weather(
    kinds=("kill chat", "stall chat", "cut chat", "cut gateway", "stall gateway", "database", "nats"),
    loses=(0.0, 0.03, 0.2),
    doubles=(0.0, 0.1),
    delays=(0.0, 0.1),
)
RETURNS = Weather(
    kinds=("device", "device", "device", "kill gateway", "stall gateway", "cut gateway"),
    loses=(0.0, 0.0, 0.1),
    delays=(0.0, 0.0, 0.2),
    lasts=(2.0, 5.0),
    pause=(0.3, 1.0),
    recovery=(0, 60, 60),
)
MOVES = Weather(
    kinds=("nats", "cut gateway", "cut chat", "device", "stall gateway", "kill chat"),
    loses=(0.0, 0.0, 0.05),
    delays=(0.0, 0.0, 0.2),
    moves=0.5,
    pause=(0.3, 1.0),
    recovery=(0, 60),
)
TAIL = Weather(
    kinds=("kill chat", "all chats", "stall chat", "cut chat", "database", "nats"),
    loses=(0.0, 0.05, 0.3),
    delays=(0.0, 0.1),
    lasts=(3.0, 5.0),
    slow=(0.02, 0.5),
    moves=0.3,
    quiet=0.5,
    settling=30.0,
)
"""Gateways compare everything every two minutes; that is too late here, so that it is the tail that tells."""
