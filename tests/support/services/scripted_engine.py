"""An engine on a port that a script answers for: just enough Socket.IO for stock clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from parley.common.http.connection.gate import HttpLimits
from parley.common.http.connection.server import http_options
from parley.engineio.packets import Packet
from parley.engineio.polling import EnginePaths
from parley.engineio.server import STATE_KEY, Engine
from parley.engineio.session import Session
from parley.engineio.transports import Limits
from parley.engineio.websocket.frames import GOING_AWAY
from parley.engineio.websocket.protocol import WebSocket
from tests.support.services.serving import listening


class Script:
    """Just enough Socket.IO to say to stock clients what a test is about; a message names what happens next."""

    def __init__(self, limits: Limits) -> None:
        self.engine = Engine(limits, self, generate_id=iter(map("s{}".format, range(10**6))).__next__, revisions=(3, 4))
        self.messages: list[str | bytes] = []
        self.ended: list[tuple[str, str]] = []
        self.missed = 0

    def session_opened(self, session: Session) -> None:
        pass

    def message_received(self, session: Session, data: str | bytes) -> None:
        self.messages.append(data)
        if data in {"0", "0{}"}:
            session.joined = True
            session.send(Packet.of(b'40{"sid":"x"}'))
            for number in range(self.missed):
                session.send(Packet.of(b'42["missed",%d]' % number))
        elif data == '2["kick"]':
            session.send(Packet.of(b'42["kicked",{"code":"kicked"}]'))
            session.send(Packet.of(b"41"))
            session.close("kicked")
        elif data == '2["drain"]':
            session.send(Packet.of(b'42["last"]'))
            session.close("shutdown", GOING_AWAY)

    def session_ended(self, session: Session, reason: str) -> None:
        self.ended.append((session.sid, reason))


class Running:
    """The scripted server, on a port."""

    def __init__(self, script: Script, port: int) -> None:
        self.script = script
        self.engine = script.engine
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


@asynccontextmanager
async def serving(http: HttpLimits | None = None, **limits: Any) -> AsyncGenerator[Running]:
    script = Script(Limits(**limits))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[dict[str, Any]]:
        yield {STATE_KEY: {b"/socket.io": script.engine}}
        await script.engine.shutdown()

    app = Starlette(lifespan=lifespan)
    app.add_middleware(EnginePaths)
    options: dict[str, Any] = {"ws": WebSocket, **http_options(limits=http)}
    async with listening(app, **options) as port:
        yield Running(script, port)
