"""Writers at work: several chat processes append to the same rooms, and everything under them fails now and then.

Drives `parley.chat.log.writer` with what it stands on: the connection, the statements, the known rooms, the domain.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from parley.chat.domain.batch_state import BatchDecision
from parley.chat.domain.encoding.room_ids import LogSecret, public_room_id, room_key
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, TransferRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.people.direct import OpenDirect
from parley.chat.domain.room import ChatCommand
from parley.chat.domain.rooms import ArchiveRoom, CreateRoom
from parley.chat.log.database import DATABASE_ERRORS
from parley.chat.log.writer import Writer
from parley.chat.settings import ChatSettings
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from tests.simulation.amendments import amendment, measure
from tests.simulation.log_checks import check_log, committed
from tests.simulation.loop import Process
from tests.simulation.session import Session
from tests.simulation.stack import defaults
from tests.simulation.tables import Transaction
from tests.simulation.world import World

PATIENCE = 60.0
"""Simulated seconds in which every command has its outcome, whatever went wrong before."""
FINAL = frozenset({Code.NOT_A_MEMBER, Code.NOT_FOUND, Code.FORBIDDEN, Code.ROOM_ARCHIVED, Code.ALREADY_EXISTS,
                   Code.INVALID_PAYLOAD, Code.LIMIT_EXCEEDED, Code.INTERNAL, Code.CONFLICT, Code.MUTED,
                   Code.BANNED})  # fmt: skip


def settings(**changes: Any) -> ChatSettings:
    """Chat's settings without the environment's."""
    return defaults(ChatSettings).model_copy(update=changes)


@dataclass
class Replica:
    """A chat process: it is started again after it was killed."""

    process: Process
    writer: Writer
    ready: bool = False


@dataclass
class Sent:
    """A command, and what its sender knows of it."""

    command: ChatCommand
    identity: Identity
    attempts: int = 0
    acked: int | None = None
    refused: Reject | None = None
    burst: int = 0
    poisoned: bool = False
    steady: bool = False
    """Whether nothing that happens may refuse it."""
    appended: bool = False
    """Whether it led to an event."""
    answers: list[int] = field(default_factory=list[int])


class Append:
    """One run."""

    def __init__(self, world: World, *, replicas: int, senders: int, commands: int) -> None:
        self.world = world
        self.replicas: list[Replica] = []
        self.sent: list[Sent] = []
        self.identities = [Identity(f"u{number}", f"User {number}") for number in range(senders)]
        self.rooms: list[str] = []
        self._replica_count = replicas
        self._commands = commands
        self._numbers = 0
        self._bursts = 0
        self._moves = world.rng.choice((0.25, 0.5))
        """How often somebody moves instead of saying something."""
        self._arrivals: dict[tuple[str, Process], float] = {}
        self._settings = settings(chat_batch=world.rng.choice((3, 10, 500)))
        self.secret = LogSecret(world.database.secret)
        self.clients = world.process("clients")

    async def run(self) -> None:
        """Make rooms, send under faults, and compare what was said with what is."""
        world = self.world
        for number in range(self._replica_count):
            self.replicas.append(self.start(f"chat{number}"))
        await self._make_rooms()
        faults = world.loop.physics.spawn(self._faults())
        await self.work()
        faults.cancel()
        self.check()

    async def work(self) -> None:
        """Have everybody send what they have to say."""
        senders = [self.clients.spawn(self._send_all(one)) for one in self.identities]
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*senders)
        except TimeoutError:
            self.world.require(False, "commands without an outcome:", [str(one.command) for one in self.open()])

    def open(self) -> list[Sent]:
        """Commands without an outcome."""
        return [one for one in self.sent if one.acked is None and one.refused is None]

    # -- chat processes --------------------------------------------------------------------------------------------

    def start(self, name: str) -> Replica:
        """Start a chat process."""
        process = self.world.process(name)
        writer = Writer(self.announced, self._settings)
        replica = Replica(process, writer)

        async def work() -> None:
            while True:
                try:
                    await writer.connect()
                    break
                except DATABASE_ERRORS:
                    await asyncio.sleep(0.1)
            replica.ready = True
            await writer.run()

        process.spawn(work())
        return replica

    def restart(self, replica: Replica, seconds: float) -> None:
        """Kill a chat process; it is back after a while."""
        self.world.note("kill", replica.process.name)
        self.world.count("kills")
        replica.process.kill()
        place = self.replicas.index(replica)

        def again() -> None:
            self.replicas[place] = self.start(replica.process.name)

        self.world.loop.after(seconds, self.world.loop.physics, again)

    async def announced(self, decision: BatchDecision) -> None:
        """What a writer tells gateways has to be in the log by then."""
        for event in decision.appended:
            there = committed(self.world, event.room_id, event.actor_id, event.command_id, event.sequence)
            self.world.require(there, "announced before it is committed:", event.command_id, event.sequence)
        for event in decision.repeated.values():
            there = (event.room_id, event.event_id) in self.world.database.tables.by_id
            self.world.require(there, "announced again, and never committed:", event.command_id, event.sequence)
        await asyncio.sleep(0)

    # -- senders ---------------------------------------------------------------------------------------------------

    async def _make_rooms(self) -> None:
        world = self.world
        for number in range(world.rng.choice((1, 1, 2, 4))):
            owner = self.identities[number % len(self.identities)]
            command = CreateRoom(f"room{number}", f"Room {number}", "public" if number % 3 < 2 else "private")
            sent = Sent(command, owner)
            self.sent.append(sent)
            await self.clients.spawn(self._settle(sent))
        self.rooms = [public_room_id(room_id) for room_id in world.database.tables.rooms]
        for index, room in enumerate(self.rooms):
            # Who never moves is never refused.
            for identity in self.identities[: 2 + index % 2]:
                sent = Sent(JoinRoom(self._id(), room), identity)
                self.sent.append(sent)
                await self.clients.spawn(self._settle(sent))

    def _id(self) -> str:
        self._numbers += 1
        return f"c{self._numbers}"

    async def _send_all(self, identity: Identity) -> None:
        rng = self.world.rng
        left = self._commands
        loose: list[asyncio.Task[None]] = []
        """What is not waited for before more is sent."""
        while left > 0:
            await asyncio.sleep(rng.random() * rng.choice((0.003, 0.03, 0.3)))
            self._bursts += 1
            size = min(left, rng.choice((1, 1, 2, 4, 8)))
            left -= size
            replica = rng.randrange(len(self.replicas))
            scattered = rng.random() < 0.3
            tasks: list[asyncio.Task[None]] = []
            for _ in range(size):
                sent = self._draw(identity)
                if scattered:
                    replica = rng.randrange(len(self.replicas))
                else:
                    sent.burst = self._bursts
                self.sent.append(sent)
                tasks.append(asyncio.ensure_future(self._settle(sent, replica)))
            if rng.random() < 0.7:
                await asyncio.gather(*tasks)
            else:
                loose += tasks
        await asyncio.gather(*loose)

    def _draw(self, identity: Identity) -> Sent:
        rng, room = self.world.rng, self.world.rng.choice(self.rooms)
        draw, user = rng.random(), rng.choice(self.identities).user_id
        draw = draw * 0.75 / (1 - self._moves) if draw < 1 - self._moves else 1 - (1 - draw) * 0.25 / self._moves
        steady = identity in self.identities[:2] and room == self.rooms[0]
        if draw < 0.25:
            head = self.world.database.tables.rooms[room_key(room) or 0]["head"]
            return Sent(amendment(rng, self._id(), room, head), identity)
        if draw < 0.75:
            poisoned = rng.random() < 0.02
            body = "poison" if poisoned else f"hello {self._numbers}"
            return Sent(SendMessage(self._id(), room, body), identity, poisoned=poisoned, steady=steady)
        if draw < 0.85:
            return Sent(JoinRoom(self._id(), room), identity)
        if draw < 0.92 and not steady:
            return Sent(LeaveRoom(self._id(), room), identity)
        if draw < 0.94:
            # Who never moves is never refused, so nothing is done about them that would be a reason.
            spared = user in {one.user_id for one in self.identities[:2]}
            return Sent(measure(rng, self._id(), room, user, spared=spared), identity)
        if draw < 0.96:
            return Sent(InviteUser(self._id(), room, UserRef(user)), identity)
        if draw < 0.99:
            return Sent(TransferRoom(self._id(), room, user), identity)
        if room != self.rooms[0] or len(self.rooms) == 1:
            return Sent(SendMessage(self._id(), room, "again"), identity, steady=steady)
        return Sent(ArchiveRoom(self._id(), self.rooms[-1]), identity)

    async def _settle(self, sent: Sent, replica: int | None = None) -> None:
        """Send a command until it has its outcome, as a client does that keeps to the protocol."""
        rng, world = self.world.rng, self.world
        while True:
            place = rng.randrange(len(self.replicas)) if replica is None or sent.attempts else replica
            sent.attempts += 1
            try:
                sequence = await self._ask(self.replicas[place], sent)
            except TimeoutError:
                world.count("timeouts")
            except Reject as rejection:
                if rejection.code in FINAL and not (rejection.code is Code.INTERNAL and not sent.poisoned):
                    sent.refused = rejection
                    self._check_refusal(sent, rejection)
                    return
                world.count(str(rejection.code))
            else:
                sent.answers.append(sequence)
                sent.acked = sequence
                # Some are sent again though they were acked: the ack was lost on the way.
                if rng.random() < 0.93:
                    return
                world.count("resent")
            await asyncio.sleep(rng.random() * 0.2 * sent.attempts)

    async def _ask(self, replica: Replica, sent: Sent) -> int:
        loop = self.world.loop
        answer: asyncio.Future[int] = loop.create_future()

        def submit() -> None:
            if not replica.ready:
                return
            try:
                decided = replica.writer.submit(sent.command, sent.identity, sent.command.id)
            except Reject as rejection:
                loop.after(0.0004, self.clients, _finish, answer, rejection)
                return
            decided.add_done_callback(done)

        def done(decided: asyncio.Future[Any]) -> None:
            if decided.cancelled():
                return
            outcome: Any = decided.exception() or decided.result().sequence
            if not isinstance(outcome, BaseException):
                sent.appended = decided.result().recorded is not None
                self._check_ack(sent, outcome, decided.result())
            self.world.note("outcome of", sent.command.id, repr(outcome))
            loop.after(0.0004, self.clients, _finish, answer, outcome)

        self.world.note("send", sent.command.id, type(sent.command).__name__, "to", replica.process.name)
        # One connection's commands arrive in the order in which they were sent.
        way = (sent.identity.user_id, replica.process)
        arrival = max(self._arrivals.get(way, 0.0), loop.now + 0.0004 * (0.5 + self.world.rng.random()))
        self._arrivals[way] = arrival
        loop.after(arrival - loop.now, replica.process, submit)
        async with asyncio.timeout(2.5):
            return await answer

    # -- faults ----------------------------------------------------------------------------------------------------

    async def _faults(self) -> None:
        world, rng = self.world, self.world.rng
        database = world.database
        if rng.random() < 0.2:
            return
        database.lose_answer = rng.choice((0.0, 0.0, 0.05, 0.3))
        database.slow = rng.choice((0.0, 0.02, 0.1))
        kinds = rng.sample(["kill", "stall", "crash", "cut", "mute", "hold", "away"], rng.choice((1, 2, 3)))
        ends = world.loop.now + rng.choice((1.0, 3.0))
        while world.loop.now < ends:
            await asyncio.sleep(rng.random() * 0.5)
            replica = rng.choice(self.replicas)
            match rng.choice(kinds):
                case "kill" if replica.process.alive:
                    self.restart(replica, rng.random())
                case "stall":
                    world.note("stall", replica.process.name)
                    replica.process.stall(rng.choice((0.1, 0.5, 7.0)) * rng.random())
                case "crash":
                    if database.up:
                        world.note("database crashes")
                        database.crash(rng.random() * 0.5)
                case "cut" | "mute" as kind if database.sessions:
                    session = rng.choice(sorted(database.sessions, key=lambda one: one.number))
                    world.note(kind, session.process.name)
                    session.cut() if kind == "cut" else session.mute_now()
                case "hold" if self.rooms:
                    world.loop.physics.spawn(self._hold(room_key(rng.choice(self.rooms)) or 0))
                case "away":
                    database.cut_off(replica.process, rng.random())
                case _:
                    pass
        database.lose_answer = 0.0

    async def _hold(self, room_id: int) -> None:
        """Another process stands still with a room's lock in its hands."""
        database = self.world.database
        transaction = Transaction(Session(database, self.world.loop.physics, 30.0))
        await database.lock(room_id, transaction)
        self.world.note("hold", room_id)
        await asyncio.sleep(self.world.rng.choice((0.05, 0.5, 2.0)) * self.world.rng.random())
        if transaction.alive:
            database.end(transaction)

    # -- what must hold --------------------------------------------------------------------------------------------

    def _room_id(self, sent: Sent) -> int:
        command = sent.command
        if isinstance(command, CreateRoom):
            return self.secret.new_room(sent.identity.user_id, command.id)
        assert not isinstance(command, OpenDirect)
        return room_key(command.room or "") or 0

    def _check_ack(self, sent: Sent, sequence: int, accepted: Any) -> None:
        if accepted.recorded is None:
            return  # nothing had to change
        there = committed(self.world, self._room_id(sent), sent.identity.user_id, sent.command.id, sequence)
        self.world.require(there, "acked, and not in the log:", sent.command, sequence)

    def _check_refusal(self, sent: Sent, rejection: Reject) -> None:
        if sent.steady and not sent.poisoned:
            self.world.require(False, "refused though nothing speaks against it:", sent.command, rejection.code)
        if sent.acked is not None:
            self.world.require(False, "refused after it was accepted:", sent.command, rejection.code)

    def check(self) -> None:
        """What must hold when everything has its outcome."""
        world = self.world
        check_log(world)
        for sent in self.sent:
            same = len(set(sent.answers)) <= 1
            world.require(same, "acked with different sequences:", sent.command, sent.answers)
        self._check_order()

    def _check_order(self) -> None:
        bursts: dict[tuple[int, int], list[Sent]] = {}
        for sent in self.sent:
            if sent.appended and sent.attempts == len(sent.answers) and sent.burst:
                bursts.setdefault((sent.burst, self._room_id(sent)), []).append(sent)
        for burst in bursts.values():
            sequences = [sent.acked or 0 for sent in burst]
            self.world.require(
                sequences == sorted(sequences), "out of order:", [(s.command.id, s.acked) for s in burst]
            )


def _finish(answer: asyncio.Future[int], outcome: Any) -> None:
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
