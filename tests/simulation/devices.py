"""Clients as the protocol wants them: they resend under the same id, come back with cursors, and check what they hear.

A transport keeps the order of what is sent on it. When it breaks, what is under way is lost, and the gateway may notice
much later than the client.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec

from parley.chat.delivery.publisher import NAMESPACE
from parley.chat.domain.room import ChatCommand
from parley.engineio.session import RequestInfo
from tests.simulation.loop import Process
from tests.simulation.marks import Marks
from tests.simulation.stack import SimulatedGateway, Stack, token_of
from tests.simulation.world import World

PREFIX = f"{NAMESPACE},"
REFUSALS = frozenset({"not_a_member", "not_found", "forbidden", "room_archived", "already_exists", "invalid_payload",
                      "limit_exceeded", "conflict"})  # fmt: skip


class Transport:
    """One Engine.IO session, seen by the gateway as `Session` and by the device as its socket."""

    revision = 4
    congested = False

    def __init__(self, device: Device, gateway: SimulatedGateway, number: int) -> None:
        self.sid = f"{device.name}-{number}"
        self.device = device
        self.gateway = gateway
        self.process = gateway.process
        self.client: Any = None
        self.joined = False
        self.held = 0
        self.over = False
        """Whether the gateway knows that it is over."""
        self.broken = False
        """Whether nothing passes any more."""
        self.origin = RequestInfo("10.0.0.1")
        self.address = "10.0.0.1"
        self.socket = SimpleNamespace()
        self._up = self._down = 0.0

    def _arrival(self, before: float) -> float:
        loop = self.device.world.loop
        return max(before, loop.now + 0.0005 * (0.5 + loop.rng.random()))

    # -- what the gateway does -------------------------------------------------------------------------------------

    def send(self, packet: Any, *, volatile: bool = False) -> None:
        """Send the device a packet."""
        if self.over:
            return
        self._down = self._arrival(self._down)
        loop = self.device.world.loop
        loop.after(self._down - loop.now, self.device.process, self.device.heard, self, packet)

    def close(self, reason: Any, code: int = 0) -> None:
        """End it once everything is written."""
        del code
        self.fail(reason)

    def fail(self, reason: Any) -> None:
        """End it now."""
        if self.over:
            return
        self.over = True
        self.device.world.note(self.sid, "is ended:", reason)
        self._down = self._arrival(self._down)
        loop = self.device.world.loop
        loop.after(self._down - loop.now, self.device.process, self.device.closed, self)
        if self.client is not None:
            session: Any = self
            self.gateway.gateway.server.session_ended(session, str(reason))

    # -- what the device does --------------------------------------------------------------------------------------

    def say(self, text: str, *, first: bool = False) -> None:
        """Send the gateway a packet."""
        self._up = self._arrival(self._up)
        loop = self.device.world.loop
        loop.after(self._up - loop.now, self.process, self._arrive, text, first)

    def _arrive(self, text: str, first: bool) -> None:
        if self.broken or self.process is not self.gateway.process:
            return
        if first:
            self.gateway.opened(self, text)
        else:
            self.gateway.received(self, text)

    def cut(self, noticed: float) -> None:
        """It breaks; the gateway notices after a while."""
        self.broken = True
        self.device.world.loop.after(noticed, self.process, self.fail, "transport close")


@dataclass
class Command:
    """A command, and what its sender knows of it."""

    command: ChatCommand
    attempts: int = 0
    burst: int = 0
    acked: int | None = None
    refused: str = ""
    answers: list[int] = field(default_factory=list[int])
    room: str = ""
    began: float = 0.0
    answered: float = math.inf


class Device:
    """One client of a user."""

    def __init__(self, world: World, stack: Stack, marks: Marks, user_id: str, number: int) -> None:
        self.world = world
        self.stack = stack
        self.marks = marks
        self.user_id = user_id
        self.name = f"{user_id}.{number}"
        self.process: Process = world.process(self.name)
        self.transport: Transport | None = None
        self.connected = False
        self.cursors: dict[str, int] = {}
        self.received: list[tuple[str, int]] = []
        self.resets = 0
        self.rejoined: dict[str, int] = {}
        self.says_cursors = stack.recovery == 0 or world.rng.random() < 0.5
        """Whether it comes back with cursors; stock clients with state recovery have their offset alone."""
        self._pid = ""
        self._offset = ""
        self._numbers = 0
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._changed = asyncio.Event()
        self._sent: list[Command] = []
        self.process.spawn(self._stay_connected())

    # -- connecting ------------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        rng = self.world.rng
        while True:
            if self.transport is None:
                gateways = [one for one in self.stack.gateways if one.up]
                if not gateways:
                    await asyncio.sleep(0.05)
                    continue
                self._numbers += 1
                gateway = gateways[int(rng.random() * len(gateways))]
                transport = self.transport = Transport(self, gateway, self._numbers)
                gateway.process.on_end.append(lambda one=transport: self._gateway_died(one))
                auth: dict[str, Any] = {"token": token_of(self.user_id)}
                if self.says_cursors:
                    auth["cursors"] = self.cursors
                if self._pid:
                    auth |= {"pid": self._pid, "offset": self._offset}
                transport.say(f"0{PREFIX}{json.dumps(auth)}", first=True)
            self._changed.clear()
            try:
                # Stock clients give up on a connection that is not answered, and try again.
                async with asyncio.timeout(None if self.connected else 8.0):
                    await self._changed.wait()
            except TimeoutError:
                if not self.connected:
                    self.lose(0.5)
            if not self.reachable:
                await asyncio.sleep(0.02 + rng.random() * 0.2)

    @property
    def reachable(self) -> bool:
        """Whether it has a transport, as far as it knows."""
        return self.transport is not None

    def lose(self, noticed: float) -> None:
        """The device's network breaks: it knows at once."""
        if self.transport is not None:
            self.world.note(self.name, "loses its transport")
            self.transport.cut(noticed)
            self._over()

    def _gateway_died(self, transport: Transport) -> None:
        self.world.loop.after(0.001, self.process, self.closed, transport)

    def closed(self, transport: Transport) -> None:
        """The transport is over."""
        if transport is self.transport:
            self._over()

    def _over(self) -> None:
        self.transport = None
        self.connected = False
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(TimeoutError())
        self._asked.clear()
        self._changed.set()

    # -- hearing ---------------------------------------------------------------------------------------------------

    def heard(self, transport: Transport, packet: Any) -> None:
        """A packet arrives."""
        if transport is not self.transport or transport.broken:
            return
        for part in packet.parts:
            text = part.data[1:].decode()
            kind, rest = text[0], text[1 + len(PREFIX) :]
            if kind == "0":
                body = json.loads(rest)
                self.connected = True
                recovered = bool(self._pid) and body.get("pid") == self._pid
                self.world.count("recovered" if recovered else "connected")
                if not recovered and not self.says_cursors:
                    self.cursors = {}
                self._pid = body.get("pid", "")
                self._changed.set()
                self.world.note("connected to", transport.gateway.name, body, self.cursors)
            elif kind == "2":
                self._event(json.loads(rest))
            elif kind == "3":
                opens = rest.index("[")
                asked = self._asked.pop(int(rest[:opens]), None)
                if asked is not None and not asked.done():
                    asked.set_result(json.loads(rest[opens:])[0])
            elif kind == "4":
                self.world.require(False, self.name, "is refused:", rest)

    def _event(self, event: list[Any]) -> None:
        name, data, *rest = event
        if rest and self.stack.recovery:
            self._offset = rest[0]
        if name == "reset":
            self.resets += 1
            self.cursors[data["room"]] = data["sequence"]
            self.world.count("resets")
        elif name == "read":
            self.world.note("is told", data)
            self.marks.told.append((self.world.loop.now, self.user_id, data))
        elif "sequence" in data:
            self._logged(name, data)

    def _logged(self, name: str, data: dict[str, Any]) -> None:
        room, sequence = data["room"], data["sequence"]
        last = self.cursors.get(room)
        self.world.note("hears", name, sequence, "of", room[-4:], self._offset)
        own = data["data"].get("user", {}).get("id") == self.user_id if name.startswith("member.") else False
        if own and name == "member.invited":
            return  # told to the invited user, beside the room
        own = own or (name == "room.created" and data["actor"]["id"] == self.user_id)
        if last is not None:
            at = f"{self.name}: {name} {sequence} of {room} after {last}"
            self.world.require(sequence > last, "received twice or out of order:", at)
            comes_in = own and name in ("member.joined", "room.created")
            self.world.require(sequence <= last + 1 or comes_in, "gap in the stream:", at)
        self.cursors[room] = max(sequence, last or 0)
        self.received.append((room, sequence))

    # -- saying ----------------------------------------------------------------------------------------------------

    async def settle(self, sent: Command) -> None:
        """Send a command until it has its outcome."""
        sent.began = self.world.loop.now
        self._sent.append(sent)

        def trying() -> None:
            sent.attempts += 1

        answer = await self.insist(sent.command.NAME, sent.command, REFUSALS, trying)
        sent.answered = self.world.loop.now
        if answer.get("ok"):
            sent.acked = answer["sequence"]
            sent.answers.append(answer["sequence"])
            sent.room = answer["room"]["id"] if "room" in answer else getattr(sent.command, "room", "")
        else:
            sent.refused = answer["error"]["code"]

    async def insist(
        self, name: str, payload: Any, refusals: Container[str], trying: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Ask until there is an answer: one that is ok, or one of these refusals."""
        rng = self.world.rng
        while True:
            while not self.connected:
                await asyncio.sleep(0.05)
            if trying is not None:
                trying()
            try:
                answer = await self._ask(name, payload)
            except TimeoutError:
                self.world.count("unanswered")
            else:
                if answer.get("ok") or answer["error"]["code"] in refusals:
                    return answer
                self.world.count(answer["error"]["code"])
            await asyncio.sleep(rng.random() * 0.3)

    async def _ask(self, name: str, payload: Any) -> dict[str, Any]:
        transport: Any = self.transport
        self._numbers += 1
        number = self._numbers
        asked = self._asked[number] = self.world.loop.create_future()
        body = msgspec.json.encode(payload).decode()
        self.world.note("sends", name, body)
        transport.say(f'2{PREFIX}{number}["{name}",{body}]')
        async with asyncio.timeout(15.0):
            return await asked
