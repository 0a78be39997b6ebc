"""Stock Socket.IO clients behind one face: npm's `socket.io-client`, new and old, and python-socketio's."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import socketio
from socketio.exceptions import ConnectionError as RefusedError

from tests.support.clients.json_lines import packed, unpacked
from tests.support.clients.python_client import WholeResponse
from tests.support.paths import CLIENTS, WEB

TIMEOUT = 15.0
HAS_JS_CLIENT = shutil.which("node") is not None and (WEB / "node_modules" / "socket.io-client").is_dir()
OLDER = CLIENTS / "node_modules" / "socket.io-client-2"
HAS_OLDER_CLIENT = HAS_JS_CLIENT and OLDER.is_dir()


class Client:
    """What happened to one client, and how to wait for more to happen."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        """Each event with its first argument."""
        self.calls: list[tuple[str, list[Any]]] = []
        """Each event with all its arguments."""
        self.connects: list[str] = []
        self.errors: list[dict[str, Any]] = []
        self.disconnects: list[str] = []
        self.lost_at: list[float] = []
        """When each disconnect was noticed."""
        self._changed = asyncio.Condition()

    async def note(self, where: list[Any], what: Any) -> None:
        """Record something and wake who waits for it."""
        async with self._changed:
            where.append(what)
            if where is self.disconnects:
                self.lost_at.append(time.monotonic())
            self._changed.notify_all()

    async def hear(self, event: str, args: list[Any]) -> None:
        """Record an event that arrived."""
        self.calls.append((event, args))
        await self.note(self.events, (event, args[0] if args else None))

    async def until(self, condition: Callable[[], Any], what: str = "", timeout: float = TIMEOUT) -> Any:
        """Wait until the condition holds and return its value."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(
                f"waited in vain for {what or condition}: events={self.events[-5:]} connects={self.connects} "
                f"errors={self.errors[-3:]} disconnects={self.disconnects[-3:]}"
            ) from None
        return condition()

    def cursors(self) -> dict[str, int]:
        """The last sequence seen per room, which an app names when it connects again."""
        return {a["room"]: a["sequence"] for _, a in self.events if isinstance(a, dict) and a.get("event_id")}

    def of(self, event: str) -> list[Any]:
        """The arguments of all events of this name so far."""
        return [argument for name, argument in self.events if name == event]

    def logged(self, room: str) -> list[dict[str, Any]]:
        """The room's sequenced events so far."""
        return [
            arg for _, arg in self.events if isinstance(arg, dict) and arg.get("room") == room and arg.get("event_id")
        ]

    def bodies(self, room: str) -> list[str]:
        """The texts of the room's messages so far."""
        return [event["data"]["body"] for event in self.logged(room) if event["type"] == "message.sent"]

    async def connected(self, times: int = 1) -> None:
        """Wait for the n-th connect."""
        await self.until(lambda: len(self.connects) >= times, f"connect number {times}")


class PythonClient(Client):
    """python-socketio's AsyncClient."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: list[aiohttp.ClientSession] = []
        self._sio = self._new()
        self._namespace = "/"
        self.auth: Any = None

    async def start(self, url: str, namespace: str, auth: Any, transports: list[str], **_options: Any) -> None:
        """Connect; a refusal is recorded, not raised."""
        self._namespace, self.auth = namespace, auth
        self._sio.on("connect", self._on_connect, namespace=namespace)
        self._sio.on("connect_error", self._on_error, namespace=namespace)
        self._sio.on("disconnect", self._on_disconnect, namespace=namespace)
        self._sio.on("*", self._on_event, namespace=namespace)
        try:
            await self._sio.connect(
                url, namespaces=[namespace], auth=self._says, transports=transports, wait_timeout=15
            )
        except RefusedError as error:
            if not self.errors:
                await self.note(self.errors, {"message": str(error), "data": None})

    def _new(self) -> Any:
        # The types that are inferred from the library's defaults are not those it takes.
        options: dict[str, Any] = {"reconnection_delay": 0.1, "reconnection_delay_max": 0.5}
        client = socketio.AsyncClient(**options)
        # python-engineio loses a session when it reconnects in the middle of closing, so who makes them closes them.
        client.eio.http_factory = self._session
        return client

    def _says(self) -> Any:
        if isinstance(self.auth, dict) and (seen := self.cursors()):
            return {**self.auth, "cursors": {**self.auth.get("cursors", {}), **seen}}
        return self.auth

    async def _on_connect(self) -> None:
        await self.note(self.connects, self._sio.get_sid(self._namespace))

    async def _on_disconnect(self, reason: str) -> None:
        await self.note(self.disconnects, reason)

    async def _on_event(self, event: str, *args: Any) -> None:
        await self.hear(event, list(args))

    async def _on_error(self, error: Any) -> None:
        await self.note(self.errors, error if isinstance(error, dict) else {"message": str(error), "data": None})

    async def emit(self, event: str, *args: Any, timeout: float = TIMEOUT) -> Any:
        """Emit and return the ack."""
        data = tuple(args) if len(args) != 1 else args[0]
        return await self._sio.call(event, data, namespace=self._namespace, timeout=timeout)

    async def tell(self, event: str, *args: Any) -> None:
        """Emit without an ack."""
        await self._sio.emit(event, tuple(args) if len(args) != 1 else args[0], namespace=self._namespace)

    @property
    def transport(self) -> str:
        """The transport in use."""
        return self._sio.transport()

    async def stop(self) -> None:
        """Disconnect for good."""
        await self._sio.shutdown()
        for session in self._sessions:
            await session.close()

    def _session(self) -> aiohttp.ClientSession:
        self._sessions.append(aiohttp.ClientSession(response_class=WholeResponse))
        return self._sessions[-1]


class JsClient(Client):
    """npm's socket.io-client in a Node process."""

    def __init__(self, version: int = 4) -> None:
        super().__init__()
        self._version = version
        self.recovered: list[bool] = []
        """Of each connect, whether the client says that it got back what it had."""
        self.pid = ""
        self.said: dict[str, int] = {}
        """The cursors that it named when it last tried to connect."""
        self.said_at = 0.0
        """When it did that."""
        self.active = True
        """Whether it goes on trying to connect, as it says when it is refused or its connection ends."""
        self._acks: dict[int, asyncio.Future[Any]] = {}
        self._tags = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.transport = ""

    async def start(self, url: str, namespace: str, auth: Any, transports: list[str], **options: Any) -> None:
        """Start Node and connect."""
        script = CLIENTS / "js_client.mjs"
        self._process = await asyncio.create_subprocess_exec(
            "node", str(script), str(self._version),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=16 * 1024 * 1024,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())
        settings = {"transports": transports, "reconnectionDelay": 100, "reconnectionDelayMax": 500, **options}
        self._do("connect", url=url, namespace=namespace, auth=auth, options=settings)

    def _do(self, action: str, **message: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": action, **message}).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = unpacked(json.loads(line))
            match message["on"]:
                case "connect":
                    self.active = True
                    self.transport = message["transport"]
                    self.recovered.append(message["recovered"])
                    self.pid = message["pid"]
                    await self.note(self.connects, message["sid"])
                case "upgrade":
                    self.transport = message["transport"]
                    await self.note([], message)
                case "says":
                    self.said, self.said_at = message["cursors"], time.monotonic()
                case "connect_error":
                    self.active = message["active"]
                    await self.note(self.errors, message)
                case "disconnect":
                    self.active = message["active"]
                    await self.note(self.disconnects, message["reason"])
                case "event":
                    await self.hear(message["event"], message["args"])
                case "ack":
                    answered = self._acks.pop(message["tag"])
                    if not answered.done():  # else nobody waits any more
                        answered.set_result(message["answer"])
                case _:
                    pass

    async def emit(self, event: str, *args: Any, timeout: float = TIMEOUT) -> Any:
        """Emit and return the ack."""
        tag = next(self._tags)
        self._acks[tag] = answered = asyncio.get_running_loop().create_future()
        self._do("emit", tag=tag, event=event, args=[packed(arg) for arg in args], timeout=timeout * 1000)
        return await answered

    async def cut(self) -> None:
        """Lose the transport, and come back after the client's own time."""
        times = len(self.disconnects)
        self._do("cut")
        await self.until(lambda: len(self.disconnects) > times, "the loss")

    async def lose(self) -> None:
        """Lose the transport, and stay away."""
        times = len(self.disconnects)
        self._do("lose")
        await self.until(lambda: len(self.disconnects) > times, "the loss")

    def turn(self, url: str) -> None:
        """Look for the server there when it is to be found again."""
        self._do("turn", url=url)

    def back(self) -> None:
        """Connect again."""
        self.active = True
        self._do("back")

    def say(self, auth: dict[str, Any]) -> None:
        """Say this when it connects again."""
        self._do("say", auth=auth)

    def has(self, room: str, sequence: int | None) -> None:
        """Name this cursor unless an event of the room has come, or none for who has left."""
        self._do("has", room=room, sequence=sequence)

    async def leave(self) -> None:
        """Disconnect as an app does that is done."""
        times = len(self.disconnects)
        self._do("disconnect")
        await self.until(lambda: len(self.disconnects) > times, "the end")

    async def tell(self, event: str, *args: Any) -> None:
        """Emit without an ack."""
        self._do("emit", tag=None, event=event, args=[packed(arg) for arg in args], timeout=0)

    async def stop(self) -> None:
        """End the process."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        if self._reader is not None:
            await self._reader
        # The pipe's transport closes on the next tick.
        self._process._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
