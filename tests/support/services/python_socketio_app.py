"""An application for python-socketio, one namespace for each of the ways in which its own examples use it.

`/` is a chat with rooms, `/latency` answers at once, `/fiddle` looks at who connects, `/accounts` is a class that keeps
a session, `/asking` asks its clients, `/any` takes whatever comes.
"""

# pyright: reportUntypedFunctionDecorator=false, reportOptionalCall=false, reportArgumentType=false

from __future__ import annotations

from typing import Any

import socketio
from socketio.exceptions import ConnectionRefusedError as RefusedError


class Accounts(socketio.AsyncNamespace):
    """Who says who they are is remembered."""

    async def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
        await self.save_session(sid, {"name": environ["HTTP_X_NAME"], "seen": 0})

    async def on_whoami(self, sid: str) -> tuple[str, int]:
        async with self.session(sid) as session:
            session["seen"] += 1
            return session["name"], session["seen"]

    async def on_leave(self, sid: str) -> None:
        await self.disconnect(sid)


class Application:
    """The handlers, and what disconnect handlers were told."""

    def __init__(self, sio: socketio.AsyncServer) -> None:
        self.sio = sio
        self.left: list[tuple[str, str, dict[str, Any]]] = []
        self.environs: dict[str, dict[str, Any]] = {}
        self._chat()
        self._fiddle()
        self._asking()
        sio.register_namespace(Accounts("/accounts"))

        @sio.event(namespace="/latency")
        async def ping_from_client(sid: str) -> None:
            await sio.emit("pong_from_client", to=sid, namespace="/latency")

        @sio.on("*", namespace="/any")
        async def anything(event: str, sid: str, *arguments: Any) -> list[Any]:
            return [event, *arguments]

    def _chat(self) -> None:
        sio = self.sio

        @sio.event
        async def connect(sid: str, environ: dict[str, Any]) -> None:
            self.environs[sid] = environ
            await sio.save_session(sid, {"joined": True})
            await sio.emit("my_response", {"data": "Connected"}, to=sid)

        @sio.event
        async def disconnect(sid: str, reason: str) -> None:
            self.left.append((sid, reason, await sio.get_session(sid)))

        @sio.event
        async def my_event(sid: str, message: Any) -> None:
            await sio.emit("my_response", {"data": message["data"]}, room=sid)

        @sio.event
        async def my_broadcast_event(_sid: str, message: Any) -> None:
            await sio.emit("my_response", {"data": message["data"]})

        @sio.on("join")
        async def enter(sid: str, message: Any) -> list[str]:
            await sio.enter_room(sid, message["room"])
            return sorted(room for room in sio.rooms(sid) if room != sid)

        @sio.event
        async def leave(sid: str, message: Any) -> list[str]:
            await sio.leave_room(sid, message["room"])
            return sorted(room for room in sio.rooms(sid) if room != sid)

        @sio.on("close_room")
        async def close(_sid: str, message: Any) -> None:
            await sio.emit("my_response", {"data": f"{message['room']} is closing"}, room=message["room"])
            await sio.close_room(message["room"])

        @sio.event
        async def my_room_event(sid: str, message: Any) -> None:
            await sio.emit("my_response", {"data": message["data"]}, room=message["room"], skip_sid=sid)

        @sio.event
        async def disconnect_request(sid: str) -> None:
            await sio.disconnect(sid)

        @sio.event
        async def count(sid: str, number: int) -> None:
            async def work() -> None:
                for step in range(number):
                    await sio.sleep(0)
                    await sio.send(step, to=sid)

            sio.start_background_task(work)

    def _fiddle(self) -> None:
        sio = self.sio

        @sio.on("connect", namespace="/fiddle")
        async def connect(sid: str, environ: dict[str, Any], auth: Any) -> bool | None:
            if auth == {"token": "no"}:
                return False
            if auth == {"token": "why"}:
                raise RefusedError("because", {"of": "it"})
            told = {"auth": auth, "query": environ["QUERY_STRING"].split("&")[0], "name": environ.get("HTTP_X_NAME")}
            await sio.emit("hello", (1, 2, told), to=sid, namespace="/fiddle")
            return None

    def _asking(self) -> None:
        sio = self.sio

        @sio.on("ask_me", namespace="/asking")
        async def ask(sid: str, question: Any) -> Any:
            answer = await sio.call("question", question, to=sid, namespace="/asking", timeout=5)
            return "you said", list(answer)

        @sio.on("callback_me", namespace="/asking")
        async def call_back(sid: str) -> None:
            async def answered(*values: Any) -> None:
                await sio.emit("answered", values, to=sid, namespace="/asking")

            await sio.emit("question", b"\x00\x01", to=sid, namespace="/asking", callback=answered)

        @sio.on("bytes", namespace="/asking")
        async def mirror(_sid: str, data: Any) -> Any:
            return {"back": data}
