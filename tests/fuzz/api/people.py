"""Who sends: accounts with sockets, and what all of them have seen so far."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import aiohttp

_ACK = re.compile(r"43/chat,(\d+)(\[.*)", re.DOTALL)
SAME = {
    "reply_to": "sequence", "thread": "sequence", "message": "sequence", "before": "sequence", "around": "sequence",
    "up_to": "sequence", "after_bot": "user", "bot": "user", "user_id": "user", "owner_id": "user", "upload": "uploads",
    "attachment": "uploads", "code": "invite", "next": "after", "created_by": "user", "target": "user",
    "current_password": "password",
}  # fmt: skip
"""Fields that hold what is known under another name."""
KEPT = 60


class Pool:
    """Values from answers by the name of their field, a bounded number of each."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Any]] = defaultdict(list)

    def add(self, name: str, value: Any, random: Random) -> None:
        """Remember a value."""
        kept = self._seen[SAME.get(name, name)]
        if len(kept) < KEPT:
            kept.append(value)
        else:
            kept[random.randrange(KEPT)] = value

    def pick(self, name: str, random: Random) -> Any:
        """Return one, or nothing where none is known."""
        kept = self._seen.get(SAME.get(name, name))
        return random.choice(kept) if kept else None

    def learn(self, answer: Any, random: Random, under: str = "") -> None:
        """Remember what an answer holds."""
        if isinstance(answer, dict):
            for key, value in cast("dict[str, Any]", answer).items():
                if isinstance(value, dict | list):
                    self.learn(value, random, key)
                elif value not in (None, "", True, False):
                    self.add(f"{under}" if key == "id" and under else key, value, random)
        elif isinstance(answer, list):
            for each in cast("list[Any]", answer)[-3:]:
                self.learn(each, random, under.removesuffix("s") if under != "uploads" else under)


@dataclass(eq=False)
class Person:
    """An account, and its socket if it has one."""

    name: str
    token: str
    user_id: str
    socket: aiohttp.ClientWebSocketResponse | None = None
    waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict[int, Any])
    events: int = 0
    ended: str = ""
    _next: int = 0
    _reading: asyncio.Task[None] | None = None

    async def connect(self, session: aiohttp.ClientSession, url: str) -> None:
        """Join `/chat`."""
        self.socket = await session.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket", max_msg_size=0)
        await self.socket.receive()
        await self.socket.send_str("40/chat," + json.dumps({"token": self.token}))
        answer = await self.socket.receive()
        assert str(answer.data).startswith("40/chat,{"), answer
        self._reading = asyncio.create_task(self._read(self.socket))

    async def emit(self, event: str, payload: str, seconds: float) -> Any:
        """Emit an event with this JSON, and return its ack. Raises `TimeoutError` and `ConnectionError`."""
        if self.socket is None or self.ended:
            raise ConnectionError(self.ended)
        self._next += 1
        number = self._next
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting[number] = answered
        try:
            await self.socket.send_str(f"42/chat,{number}[{json.dumps(event)},{payload}]")
            async with asyncio.timeout(seconds):
                return await answered
        finally:
            self.waiting.pop(number, None)

    async def leave(self) -> None:
        """Close the socket."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        if self.socket is not None:
            await self.socket.close()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.data == "2":
                await socket.send_str("3")
            elif (ack := _ACK.match(str(message.data))) is not None:
                answered = self.waiting.get(int(ack[1]))
                if answered is not None and not answered.done():
                    answered.set_result(json.loads(ack[2])[0])
            elif str(message.data).startswith("42/chat,"):
                json.loads(str(message.data)[8:])
                self.events += 1
            else:
                self.ended = str(message.data)[:200]
        self.ended = self.ended or f"closed {socket.close_code}"
        for answered in self.waiting.values():
            if not answered.done():
                answered.set_exception(ConnectionError(self.ended))
