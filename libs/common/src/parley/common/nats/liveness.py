"""The signs of life of one process: it publishes one every second and subscribes to those of its own name.

A process that does not receive its own signs is *deaf*, however healthy its connection looks:

    | deaf for          | what happens                                         |
    |-------------------|------------------------------------------------------|
    | `DEAF_AFTER`      | `Bus.check` reports it, so the process is not ready  |
    | `RECONNECT_AFTER` | the NATS connection is dropped, once                 |
    | `STOP_AFTER`      | the process is asked to stop; its supervisor restarts it |

A second counts only while there is a connection and this process's loop runs on time.

A process that receives a sign of another run of its own name stops if it is the older of the two. It was suspended when
the younger one started and asked for the name, and what is sent to the name reaches the younger one, too.

The `Bus` makes it and runs `publish_signs` and `watch` as tasks.
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
"""Seconds without its own sign of life after which a process is deaf."""
RECONNECT_AFTER = 10.0
"""Seconds of deafness after which the connection is dropped, which cures most causes."""
STOP_AFTER = 30.0
"""Seconds of deafness after which the process stops."""
NAME_TIMEOUT = 1.0
"""Seconds in which another process of the same name has to answer; one that does its work is much quicker."""


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
        """The seconds of deafness that count."""
        self._reconnected = False
        """Whether the connection was dropped since this process last received its own sign."""
        self._leaving = False

    @property
    def hearing(self) -> bool:
        """Whether this process has lately received its own sign of life."""
        return self._connected() and time.monotonic() - self._heard < DEAF_AFTER

    def restart(self) -> None:
        """Begin anew after a reconnect: the first sign may take a moment to come back."""
        self._heard = time.monotonic()

    def on_namesake(self, data: bytes, run: str) -> None:
        """Take a sign of life of a process of this name, its own included. May ask this process to stop."""
        if run == self._run:
            self._heard = time.monotonic()
            self._deaf, self._reconnected = 0.0, False
            return
        sign = decode(data, SignOfLife)
        # The run decides between two that were started in the same millisecond, so that only one of them stops.
        if not sign.leaving and not self._leaving and (sign.started, run) > (self._started, self._run):
            log.critical(
                "another process has this one's name since it stood still, stopping",
                service=self._service,
                instance=self._instance,
            )
            self._leaving = True
            stop_process()

    async def publish_signs(self) -> None:
        """Send signs of life. It does not return, since a task that ends would stop the process."""
        # A sign after the goodbye would make others take this process for alive again.
        while not self._leaving:
            if self._connected():
                await self._send(SignOfLife(self._started))
            await asyncio.sleep(ALIVE_INTERVAL)
        # For ever; who runs it cancels it.
        await asyncio.Event().wait()

    async def watch(self) -> None:
        """Look every second whether this process is deaf, for ever, and act on it."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(ALIVE_INTERVAL)
            now = time.monotonic()
            if self._connected() and now - self._heard > ALIVE_INTERVAL:
                # At most two seconds of each round count: a loop that stood still could not receive anything.
                self._deaf += min(now - last, 2 * ALIVE_INTERVAL)
            last = now
            if self._deaf >= STOP_AFTER:
                log.critical("deaf for too long, stopping", seconds=round(self._deaf))
                self._deaf = 0.0
                stop_process()
            # Once per deafness: what a new connection does not cure, another one would not either.
            elif self._deaf >= RECONNECT_AFTER and not self._reconnected:
                log.error("deaf, connecting to NATS anew", seconds=round(self._deaf))
                self._reconnected = True
                await self._reconnect()

    async def say_goodbye(self) -> None:
        """Tell everybody that this process stops in order, so that nobody waits until it is silent."""
        self._leaving = True
        if self._connected():
            await self._send(SignOfLife(self._started, leaving=True))

    async def _send(self, sign: SignOfLife) -> None:
        try:
            await self._publish(self._subject, sign.encode(), "")
        except Reject as rejection:
            log.debug("no sign of life sent", code=str(rejection.code))
