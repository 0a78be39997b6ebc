"""Reads rooms' logs from the services, for repairs and for members that catch up.

After a deployment all members of a room ask for the same page. A request for events that an answer under way may have
waits for it, and pages are kept for a moment; they never get wrong, since events do not change. The number of requests
to one namespace is bounded, for repairs and for members apart, so neither holds up the other, or admissions.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from typing import NamedTuple

from parley.common.errors import Reject
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.wire import subjects
from parley.common.wire.rooms import Replay, Replayed, RoomEvent
from parley.gateway.rooms.local_room import LocalRoom

log = get_logger(__name__)

REPLAY_LIMIT = 500
"""Events in one page."""
REPAIRS = 32
"""Requests for repairs under way to one namespace."""
REPLAYS = 64
"""Requests for members that catch up, under way to one namespace."""
KEPT_SECONDS = 2.0
KEPT_BYTES = 32 * 1024 * 1024
"""Pages are kept for so many seconds, and up to so many bytes altogether."""


class _Page(NamedTuple):
    after: int
    events: list[RoomEvent]
    head: int
    size: int
    expires: float


class _Pools:
    """The bounds of the requests to one namespace, and whether they fail."""

    __slots__ = ("failing", "repairs", "replays")

    def __init__(self) -> None:
        self.repairs = asyncio.Semaphore(REPAIRS)
        self.replays = asyncio.Semaphore(REPLAYS)
        self.failing = False


class LogReader:
    """Reads pages of rooms' logs. It returns None instead of a page if it has to be tried again later."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._pools: defaultdict[str, _Pools] = defaultdict(_Pools)
        self._under_way: defaultdict[LocalRoom, dict[int, asyncio.Future[bool]]] = defaultdict(dict)
        self._kept: OrderedDict[LocalRoom, list[_Page]] = OrderedDict()
        self._kept_bytes = 0
        self._expiring = False

    async def for_repair(self, room: LocalRoom, after: int) -> Replayed | None:
        """Return what follows an event, for a room that lacks it."""
        if (page := self._find(room, after)) is not None:
            return page
        # Repairs do not wait for each other's pages: each room has one at a time (`LocalRoom.repairing`).
        async with self._pools[room.namespace].repairs:
            return await self._ask(room, after)

    async def for_member(self, room: LocalRoom, after: int) -> Replayed | None:
        """Return what follows an event, for a member that catches up."""
        while True:
            if (page := self._find(room, after)) is not None:
                return page
            under_way = self._under_way[room]
            # It may have them: how many events the answer has is not known yet, so the loop looks again after it.
            other = next((under_way[start] for start in under_way if start <= after < start + REPLAY_LIMIT), None)
            if other is None:
                break
            # Shielded, since a member that stops waiting must not cancel the request of the others.
            if not await asyncio.shield(other):
                return None
        answered = under_way[after] = asyncio.get_running_loop().create_future()
        replayed = None
        try:
            async with self._pools[room.namespace].replays:
                replayed = await self._ask(room, after)
        finally:
            # Also after a cancellation: those who wait then try again.
            answered.set_result(replayed is not None)
            del under_way[after]
            if not under_way:
                self._under_way.pop(room, None)
        return replayed

    def forget(self, room: LocalRoom) -> None:
        """Drop the pages of a room, because it is closed, or its log was restored."""
        for page in self._kept.pop(room, ()):
            self._kept_bytes -= page.size

    async def _ask(self, room: LocalRoom, after: int) -> Replayed | None:
        pools = self._pools[room.namespace]
        try:
            request = Replay(room.room, after, REPLAY_LIMIT)
            replayed = await self._bus.request(subjects.replay(room.namespace), request, Replayed, repeat=True)
        except Reject as rejection:
            if not pools.failing:
                log.warning("cannot read the log, trying again", namespace=room.namespace, code=str(rejection.code))
            pools.failing = True
            return None
        if pools.failing:
            log.info("the log can be read again", namespace=room.namespace)
        pools.failing = False
        if not room.closed:
            self._keep(room, after, replayed)
        return replayed

    def _find(self, room: LocalRoom, after: int) -> Replayed | None:
        for page in self._kept.get(room, ()):
            if page.after <= after < page.after + len(page.events):
                return Replayed(page.events[after - page.after :], page.head)
        return None

    def _keep(self, room: LocalRoom, after: int, replayed: Replayed) -> None:
        events = replayed.events
        # A page that has gaps, as when something is being repaired at the service, must not be handed to others.
        if not events or (events[0].sequence, events[-1].sequence) != (after + 1, after + len(events)):
            return
        loop = asyncio.get_running_loop()
        size = sum(len(event.payload) + sum(map(len, event.attachments)) + 200 for event in events)
        if not self._expiring:
            self._expiring = True
            loop.call_later(KEPT_SECONDS, self._expire)
        self._kept.setdefault(room, []).append(_Page(after, events, replayed.head, size, loop.time() + KEPT_SECONDS))
        self._kept.move_to_end(room)
        self._kept_bytes += size
        # The room whose page is the oldest goes first.
        while self._kept_bytes > KEPT_BYTES:
            self.forget(next(iter(self._kept)))

    def _expire(self) -> None:
        """Drop the pages that were kept long enough, and look again while there are any."""
        loop = asyncio.get_running_loop()
        for room, pages in list(self._kept.items()):
            self.forget(room)
            if staying := [page for page in pages if page.expires > loop.time()]:
                self._kept[room] = staying
                self._kept_bytes += sum(page.size for page in staying)
        self._expiring = bool(self._kept)
        if self._expiring:
            loop.call_later(KEPT_SECONDS, self._expire)
