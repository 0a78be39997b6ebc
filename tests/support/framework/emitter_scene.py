"""Two real gateways on a NATS of their own, stock clients on both, and the service behind a namespace.

The service's process and the auth service are played by the test on the same NATS: they are peers of the gateways.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import socketio

from parley.cli.stack import embedded
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.commands import Command
from parley.common.wire.connections import ConnectionInfo, ConnectReply, ConnectRequest
from parley.common.wire.identity import Authenticate, CheckWelcome, Identity
from parley.common.wire.rooms import GetMemberships, GetRoomHeads, Membership, Memberships, Replay, Replayed, RoomHeads
from parley.framework.remote.emitter import Emitter
from parley.testing.tokens import check_welcome
from tests.support.bus import running_bus
from tests.support.clients.json_lines import packed, unpacked
from tests.support.clients.plain_http import plain_http
from tests.support.clients.stock_clients import Client
from tests.support.gateway.backend import Backend
from tests.support.own_server import Server
from tests.support.paths import CLIENTS
from tests.support.ports import free_port
from tests.support.stack.stack import Process

NAMESPACES = 60
RECOVERING = "/recovering"
"""The namespace that recovers connections."""


class Service:
    """The service behind a namespace: lets everybody in, and accepts every command."""

    def __init__(self, bus: Bus, namespace: str) -> None:
        self.bus = bus
        self.namespace = namespace
        self.rooms: defaultdict[str, list[str]] = defaultdict(list)
        """The rooms of each user."""
        self.opened = 0
        self.verified = 0
        """Questions which rooms users are in who are here already."""
        self.commands: list[Command] = []
        self._backend = Backend(bus)

    async def start(self) -> None:
        """Begin to answer."""
        self._backend.answering = True
        await self._backend.serve(self.namespace)
        await self.bus.respond(subjects.connect(self.namespace), ConnectRequest, self._open, queue="service")
        await self.bus.respond(subjects.memberships(self.namespace), GetMemberships, self._memberships, queue="service")
        await self.bus.respond(subjects.replay(self.namespace), Replay, self._replay, queue="service")
        await self.bus.respond(subjects.room_heads(self.namespace), GetRoomHeads, self._heads, queue="service")
        await self.bus.flush()

    @property
    def events(self) -> list[str]:
        """The names of all commands so far."""
        return [c.event for batch in self._backend.batches for talk in batch.connections for c in talk.commands]

    async def _open(self, request: ConnectRequest) -> ConnectReply:
        self.opened += 1
        return ConnectReply([Membership(room, 0, 0) for room in self.rooms[request.identity.user_id]])

    async def _memberships(self, request: GetMemberships) -> Memberships:
        self.verified += 1
        return Memberships([[Membership(room, 0, 0) for room in self.rooms[user.user_id]] for user in request.users])

    async def _replay(self, _request: Replay) -> Replayed:
        return Replayed([], 0)

    async def _heads(self, _request: GetRoomHeads) -> RoomHeads:
        return RoomHeads(self.namespace, [])


class JsSocket(Client):
    """One socket of npm's client."""

    def __init__(self, crowd: Crowd, name: str) -> None:
        super().__init__()
        self._crowd = crowd
        self.name = name
        self.acks: dict[int, Any] = {}
        self.recovered = False
        """Whether the client says that it got back what it had."""
        self.done = 0
        """The number of the last thing that it was told to do and has done."""

    @property
    def sid(self) -> str:
        """Its present sid."""
        return self.connects[-1]

    async def answers(self, *answer: Any) -> None:
        """Answer so from now on; before, every answer is owed."""
        await self._do("answers", answer=packed(answer))

    async def pay(self, *answer: Any) -> None:
        """Answer what is owed."""
        await self._do("pay", answer=packed(answer))

    async def emit(self, event: str, *args: Any) -> Any:
        """Emit and return the ack's arguments."""
        tag = self._crowd.tag()
        await self._do("emit", tag=tag, event=event, args=packed(args))
        await self.until(lambda: tag in self.acks, f"the ack of {event}")
        return self.acks[tag]

    async def drop(self) -> None:
        """Lose the transport."""
        await self._do("drop")

    async def come_back(self) -> None:
        """Connect again."""
        await self._do("back")
        await self.connected(len(self.connects) + 1)

    async def close(self) -> None:
        """Leave the namespace."""
        await self._do("close")

    async def _do(self, action: str, **message: Any) -> None:
        number = self._crowd.do(action, name=self.name, **message)
        await self.until(lambda: self.done >= number, action)


class Crowd:
    """Sockets of npm's client in one Node process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tags = itertools.count(1)
        self._sockets: dict[str, JsSocket] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> Crowd:
        """Start Node."""
        script = CLIENTS / "emitter_clients.mjs"
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec("node", str(script), stdin=pipe, stdout=pipe, limit=2**24))

    async def socket(self, url: str, namespace: str, token: str = "", *, beside: JsSocket | None = None) -> JsSocket:
        """A connected socket, on the transport of another if that is named."""
        name = f"socket{self.tag()}"
        socket = self._sockets[name] = JsSocket(self, name)
        transport = beside.name if beside is not None else name
        self.do(
            "open", name=name, url=url, namespace=namespace, transport=transport, token=token, transports=["websocket"]
        )
        await socket.connected()
        return socket

    def tag(self) -> int:
        """A fresh number."""
        return next(self._tags)

    def do(self, action: str, **message: Any) -> int:
        """Tell Node to do something, and return its number."""
        assert self._process.stdin is not None
        number = self.tag()
        self._process.stdin.write(json.dumps({"do": action, "number": number, **message}).encode() + b"\n")
        return number

    async def stop(self) -> None:
        """End Node and all its sockets."""
        self._process.kill()
        await self._process.wait()
        await self._reader
        # The pipe's transport closes on the next tick.
        self._process._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = unpacked(json.loads(line))
            socket = self._sockets[message["name"]]
            match message["on"]:
                case "connect":
                    socket.recovered = message["recovered"]
                    await socket.note(socket.connects, message["sid"])
                case "connect_error":
                    await socket.note(socket.errors, message)
                case "disconnect":
                    await socket.note(socket.disconnects, message["reason"])
                case "done":
                    socket.done = message["number"]
                    await socket.note([], None)
                case "ack":
                    socket.acks[message["tag"]] = message["answer"]
                    await socket.note([], None)
                case _:
                    await socket.note(socket.events, (message["event"], message["args"]))


class PythonSocket(Client):
    """python-socketio's client, with an answer to everything."""

    def __init__(self, namespace: str, answer: Any) -> None:
        super().__init__()
        self._namespace = namespace
        self._answer = answer
        self._http = aiohttp.ClientSession()
        self._sio: Any = socketio.AsyncClient(reconnection=False, http_session=self._http)

    @classmethod
    async def start(cls, url: str, namespace: str, token: str = "", *, answer: Any = None) -> PythonSocket:
        """A connected one."""
        socket = cls(namespace, answer)
        socket._sio.on("*", socket._on_event, namespace=namespace)
        socket._sio.on("disconnect", socket._on_disconnect, namespace=namespace)
        await socket._sio.connect(url, namespaces=[namespace], auth={"token": token}, transports=["websocket"])
        return socket

    @property
    def sid(self) -> str:
        """Its sid."""
        return self._sio.get_sid(self._namespace)

    async def stop(self) -> None:
        """Disconnect."""
        await self._sio.shutdown()
        await self._http.close()

    async def _on_event(self, event: str, *args: Any) -> Any:
        await self.note(self.events, (event, list(args)))
        return self._answer

    async def _on_disconnect(self, reason: str) -> None:
        await self.note(self.disconnects, reason)


class Stack:
    """NATS, two gateways, and what plays auth."""

    def __init__(self, nats: Server, gateways: list[Process], bus: Bus) -> None:
        self.nats = nats
        self.gateways = gateways
        self.bus = bus
        self.urls = [gateway.url for gateway in gateways]
        self._numbers = itertools.count()
        self._subscribed: set[str] = set()

    def fresh_namespace(self) -> str:
        """A namespace that no other test uses."""
        return f"/n{next(self._numbers)}"

    async def volatile_dropped(self, gateway: int = 0) -> float:
        """How many volatile packets a gateway did not send."""
        async with plain_http() as http:
            text = (await http.get(f"{self.urls[gateway]}/metrics")).text
        (line,) = (line for line in text.splitlines() if line.startswith("parley_gateway_volatile_dropped_total"))
        return float(line.split()[1])


@asynccontextmanager
async def running_stack(directory: Path) -> AsyncGenerator[Stack]:
    """Start everything."""
    port = free_port()
    nats = Server(lambda: embedded.nats(directory / "nats", port))
    await nats.start()
    declared = directory / "namespaces.toml"
    declared.write_text(
        "".join(f'[namespaces."/n{n}"]\nservice = "service"\nauth = "guest"\n' for n in range(NAMESPACES))
        + f'[namespaces."{RECOVERING}"]\nservice = "service"\nrecovery = 60\n'
    )
    environment = dict(os.environ) | {"PARLEY_NATS_URL": nats.url, "PARLEY_NAMESPACES_FILE": str(declared)}
    gateways = [Process("gateway", environment, directory, f"gateway{n}") for n in (1, 2)]
    try:
        async with running_bus(nats.url, "service") as bus:
            await _play_auth(bus)
            for gateway in gateways:
                gateway.start()
            await asyncio.gather(*(gateway.ready() for gateway in gateways))
            yield Stack(nats, gateways, bus)
            codes = [await asyncio.to_thread(gateway.stop) for gateway in gateways]
            assert codes == [0, 0], [gateway.log() for gateway in gateways]
    finally:
        for gateway in gateways:
            gateway.kill()
        await nats.stop()


async def _play_auth(bus: Bus) -> None:
    guests = itertools.count(1)

    async def authenticate(claim: Authenticate) -> Identity:
        user = claim.token or f"guest{next(guests)}"
        return Identity(user, user.title())

    await bus.respond(subjects.AUTHENTICATE, Authenticate, authenticate, queue="auth")
    await bus.respond(subjects.WELCOME, CheckWelcome, check_welcome, queue="auth")
    await bus.flush()


class Scene:
    """One test's namespace: its service, the emitter, and clients that are stopped in the end."""

    def __init__(self, stack: Stack, crowd: Crowd, service: Service, emitter: Emitter) -> None:
        self.stack = stack
        self.service = service
        self.emitter = emitter
        self.namespace = service.namespace
        self._crowd = crowd
        self._python: list[PythonSocket] = []
        self._js: list[JsSocket] = []

    async def join(self, gateway: int = 0, token: str = "", *, beside: JsSocket | None = None) -> JsSocket:
        """A socket of npm's client on a gateway, on the transport of another if that is named."""
        socket = await self._crowd.socket(self.stack.urls[gateway], self.namespace, token, beside=beside)
        self._js.append(socket)
        return socket

    async def join_three(self) -> list[JsSocket]:
        """Two on the first gateway, one on the second."""
        return [await self.join(0), await self.join(0), await self.join(1)]

    async def join_python(self, gateway: int = 0, *, answer: Any = None) -> PythonSocket:
        """A socket of python-socketio's on a gateway."""
        socket = await PythonSocket.start(self.stack.urls[gateway], self.namespace, answer=answer)
        self._python.append(socket)
        return socket

    async def settle(self, *sockets: JsSocket | PythonSocket) -> None:
        """Until everything emitted before has arrived at these, or will not."""
        for socket in sockets:
            before = len(socket.of("settled"))
            await self.emitter.socket(socket.sid).emit("settled")
            await socket.until(lambda socket=socket, before=before: len(socket.of("settled")) > before, "what is left")

    async def rooms(self, socket: JsSocket | PythonSocket) -> set[str]:
        """The rooms of a socket, besides its own and its user's."""
        info: ConnectionInfo = await self.emitter.socket(socket.sid).fetch()
        return set(info.rooms) - {socket.sid, subjects.user_room(info.user_id)}

    async def stop(self) -> None:
        """Stop the clients."""
        await asyncio.gather(*(socket.close() for socket in self._js))
        await asyncio.gather(*(socket.stop() for socket in self._python))
