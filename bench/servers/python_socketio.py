"""The peer python-socketio, on uvicorn and uvloop: with its own Engine.IO, or as `drop-in` on Parley's."""

from __future__ import annotations

import os
import sys
from typing import Any

import lag
import socketio
import uvicorn

from parley.engineio import AsyncServer

options: dict[str, Any] = {"ws_per_message_deflate": False}
if sys.argv[1:] == ["drop-in"]:
    server = AsyncServer()
    options = server.server_options()
else:
    server = socketio.AsyncServer(async_mode="asgi")


async def join(sid: str, room: str) -> str:
    await server.enter_room(sid, room)
    return "ok"


async def msg(_sid: str, room: str, text: str) -> None:
    await server.emit("msg", text, room=room)


async def started() -> None:
    lag.watch()


server.on("join", join)
server.on("msg", msg)
app: Any = socketio.ASGIApp(server, on_startup=started)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        log_level="warning",
        backlog=4096,
        **options,
    )
