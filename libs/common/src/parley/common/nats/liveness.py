"""Signs of life of one process: it sends one each second, and draws its conclusions from what comes back.

Its own echo: without it the process is *deaf*, however healthy its socket looks. It is not ready then; after a while it
drops the connection, which cures most, and in the end it stops, since whoever runs it starts another.

    | deaf for          |                                                      |
    |-------------------|------------------------------------------------------|
    | `DEAF_AFTER`      | `Bus.check` says so, readiness follows               |
    | `RECONNECT_AFTER` | the NATS connection is dropped, once                 |
    | `STOP_AFTER`      | the process is asked to stop                         |

Seconds count only while there is a connection and the own loop runs on time.

A sign of another run under its own name: the older of the two stops. It stood still when the younger one started and
asked for the name; what is meant for the name goes to the younger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from parley.common.errors import Reject
from parley.common.process.logs import get_logger
from parley.common.process.tasks import stop_process
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.processes import SignOfLife

log = get_logger(__name__)

ALIVE_INTERVAL = 1.0
"""Seconds between two signs of life."""
DEAF_AFTER = 5.0
"""Seconds without one's own sign of life after which a process is deaf."""
RECONNECT_AFTER = 10.0
STOP_AFTER = 30.0
NAME_TIMEOUT = 1.0
"""Seconds in which another process of the same name answers, if it does its work."""


class NameTaken(RuntimeError):
    """Another process answers under this one's name; the text says which."""


class Liveness:
    """The signs of life of this run of a process."""

    def __init__(
        self,
        service: str,
        address: str,
        publish: Callable[[str, bytes, str], Awaitable[None]],
        connected: Callable[[], bool],
        reconnect: Callable[[], Awaitable[None]],
    ) -> None:
        self._service = service
        self._instance, self._run = subjects.split_address(address)
        self._subject = subjects.alive(service, address)
        self._publish = publish
        self._connected = connected
        self._reconnect = reconnect
        self._started = time.time_ns() // 1_000_000
        self._heard = time.monotonic()
        self._deaf = 0.0
        """Seconds, as they count."""
        self._reconnected = False
        """Whether the connection was dropped since the last echo."""
        self._leaving = False

    @property
    def hearing(self) -> bool:
        """Whether this process lately received what it published itself."""
        return self._connected() and time.monotonic() - self._heard < DEAF_AFTER

    def restart(self) -> None:
        """The connection is new: its first echo may take a moment."""
        self._heard = time.monotonic()

    def on_namesake(self, data: bytes, run: str) -> None:
        """Take a sign of life of a process of this name, this one's own included."""
        if run == self._run:
            self._heard = time.monotonic()
            self._deaf, self._reconnected = 0.0, False
            return
        sign = decode(data, SignOfLife)
        if not sign.leaving and not self._leaving and (sign.started, run) > (self._started, self._run):
            log.critical(
                "another process has this one's name since it stood still, stopping",
                service=self._service,
                instance=self._instance,
            )
            self._leaving = True
            stop_process()

    async def beat(self) -> None:
        """Send signs of life, for ever."""
        while not self._leaving:
            if self._connected():
                await self._send(SignOfLife(self._started))
            await asyncio.sleep(ALIVE_INTERVAL)
        await asyncio.Event().wait()

    async def watch(self) -> None:
        """Draw the conclusions of being deaf, for ever."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(ALIVE_INTERVAL)
            now = time.monotonic()
            if self._connected() and now - self._heard > ALIVE_INTERVAL:
                # A loop that stood still has not heard anything either.
                self._deaf += min(now - last, 2 * ALIVE_INTERVAL)
            last = now
            if self._deaf >= STOP_AFTER:
                log.critical("deaf for too long, stopping", seconds=round(self._deaf))
                self._deaf = 0.0
                stop_process()
            elif self._deaf >= RECONNECT_AFTER and not self._reconnected:
                log.error("deaf, connecting to NATS anew", seconds=round(self._deaf))
                self._reconnected = True
                await self._reconnect()

    async def say_goodbye(self) -> None:
        """Say that this process stops in order: nobody has to look for it."""
        self._leaving = True
        if self._connected():
            await self._send(SignOfLife(self._started, leaving=True))

    async def _send(self, sign: SignOfLife) -> None:
        try:
            await self._publish(self._subject, sign.encode(), "")
        except Reject as rejection:
            log.debug("no sign of life sent", code=str(rejection.code))
