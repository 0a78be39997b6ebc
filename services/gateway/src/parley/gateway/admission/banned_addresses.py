"""Banned ranges of addresses: no transport begins from one, and those that are here end when it is heard of.

Auth has the list and refuses whoever comes from a banned range itself. This copy of it refuses them at the door, where
that costs next to nothing. It is asked for at the start, when auth says that it has changed, after every reconnect to
NATS, and every minute: so nothing rests on a notice that may be missed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from parley.common.errors import Reject
from parley.common.http.address_ranges import AddressRanges
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.address_bans import AddressBanList, ListAddressBans
from parley.gateway.connections.connection import Connection

log = get_logger(__name__)

RENEW_SECONDS = 60.0
RETRY_SECONDS = 2.0


class BannedAddresses:
    """The banned ranges, as far as this gateway knows."""

    def __init__(
        self, bus: Bus, everybody: Callable[[], Iterable[Connection]], end: Callable[[Connection], object]
    ) -> None:
        """`everybody` are those who are here and those who may come back; `end` ends one of them as banned."""
        self._bus = bus
        self._everybody = everybody
        self._end = end
        self._ranges = AddressRanges()
        self._tasks = Tasks()

    def start(self) -> None:
        """Ask now, and now and then for ever."""
        self._tasks.forever(self._run(), name="address bans")

    async def close(self) -> None:
        """Stop asking."""
        await self._tasks.close()

    def renew_soon(self) -> None:
        """A change may have been missed."""
        self._tasks.spawn(self._try(), name="address bans")

    def refuse(self, address: str) -> bool:
        """Whether nothing may begin from this address."""
        return self._ranges.hold(address, time.monotonic())

    async def renew(self) -> int:
        """Ask which ranges are banned and end who is here from one; returns how many. Raises `Reject`."""
        answer = await self._bus.request(subjects.ADDRESS_BANS, ListAddressBans(), AddressBanList, repeat=True)
        self._ranges = AddressRanges.of_bans(answer.bans, time.monotonic())
        if not self._ranges:
            return 0
        refused = [found for found in self._everybody() if self.refuse(found.session.origin.address)]
        for connection in refused:
            self._end(connection)
        if refused:
            log.info("banned addresses", connections=len(refused))
        return len(refused)

    async def _try(self) -> None:
        # When auth is away, who comes meanwhile waits for it, and is refused by it.
        with suppress(Reject):
            await self.renew()

    async def _run(self) -> None:
        while True:
            try:
                await self.renew()
                pause = RENEW_SECONDS
            except Reject:
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)
