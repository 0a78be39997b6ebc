"""The rooms that have a member on this gateway, and their subscriptions.

A room is subscribed to when its first member enters, and closed when its last one has left. `Fanout` and its parts find
rooms here, by namespace and name.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from nats.errors import Error
from prometheus_client import Gauge

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms.local_room import LocalRoom

SUBSCRIPTIONS = Gauge("parley_gateway_room_subscriptions", "Rooms with a local member")


class RoomRegistry:
    """Rooms by namespace and name.

    `receive` is called with what is published in one, `closed` when its last member has left.
    """

    def __init__(
        self, bus: Bus, receive: Callable[[LocalRoom, bytes], None], closed: Callable[[LocalRoom], None]
    ) -> None:
        self._bus = bus
        self._receive = receive
        self._closed = closed
        self._watchers: dict[tuple[str, str], Callable[[Connection], object]] = {}
        self._rooms: defaultdict[str, dict[str, LocalRoom]] = defaultdict(dict)
        self._flush: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, LocalRoom]]]:
        return iter(self._rooms.items())

    def get(self, namespace: str, room: str) -> LocalRoom | None:
        """Return a room that has a member here."""
        rooms = self._rooms.get(namespace)
        return None if rooms is None else rooms.get(room)

    def users_room(self, connection: Connection) -> LocalRoom:
        """Return the own room of a connection's user, in which every connection is."""
        return self._rooms[connection.namespace][subjects.user_room(connection.identity.user_id)]

    def of_user(self, namespace: str, user_id: str) -> list[Connection]:
        """Return a user's connections here that have to be told of the user's joins and leaves."""
        room = self.get(namespace, subjects.user_room(user_id))
        return [] if room is None else listeners(room)

    def open(self, namespace: str, name: str, head: int) -> LocalRoom:
        """Subscribe to a room that has no member here yet, of which events after `head` have to be delivered."""
        room = self._rooms[namespace][name] = LocalRoom(namespace, name, head, self._receive)
        room.listener = self._bus.listen(subjects.room(namespace, name), room)
        if self._watchers:
            room.watcher = self._watchers.get((namespace, name))
        SUBSCRIPTIONS.inc()
        return room

    def watch(self, namespace: str, name: str, watcher: Callable[[Connection], object] | None) -> None:
        """Call `watcher` with whoever may have come into a room or gone, also if nobody is in it yet; None ends it."""
        if watcher is None:
            self._watchers.pop((namespace, name), None)
        else:
            self._watchers[namespace, name] = watcher
        if (room := self.get(namespace, name)) is not None:
            room.watcher = watcher

    async def make_known(self, rooms: Iterable[LocalRoom]) -> bool:
        """Wait until NATS has the rooms' subscriptions. Returns whether that took any waiting. Raises `Reject`."""
        unknown = [room for room in rooms if not room.known]
        if not unknown:
            return False
        if self._flush is None:
            # One flush for all that are let in in the same turn of the loop: they come in storms.
            self._flush = asyncio.ensure_future(self._ask_broker())
        try:
            await asyncio.shield(self._flush)
        except (TimeoutError, Error) as error:
            raise Reject(Code.UNAVAILABLE) from error
        for room in unknown:
            room.known = True
        return True

    async def _ask_broker(self) -> None:
        # Until the next turn: whoever asks in this one shares the flush.
        await asyncio.sleep(0)
        self._flush = None
        await self._bus.flush()

    def close_if_empty(self, room: LocalRoom) -> None:
        """Close a room when its last member has left."""
        if room.closed or not room.empty:
            return
        # Marked first: who holds the room across an `await` sees by this that another one may have its name by now.
        room.closed = True
        del self._rooms[room.namespace][room.room]
        SUBSCRIPTIONS.dec()
        if room.listener is not None:
            room.listener.close()
            room.listener = None
        self._closed(room)


class Awaited:
    """Parked connections: each under its sid and the rooms that it does not hear meanwhile."""

    def __init__(self) -> None:
        self._names: dict[Connection, list[tuple[str, str]]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        """How many there are under each name in a namespace."""

    def __contains__(self, name: tuple[str, str]) -> bool:
        return name in self._counts

    def add(self, connection: Connection, rooms: Iterable[str]) -> None:
        """Note that a connection was parked."""
        names = self._names[connection] = [(connection.namespace, name) for name in (connection.sid, *rooms)]
        self._counts.update(names)

    def discard(self, connection: Connection) -> None:
        """Note that a connection does not come back, or has come back. Doing it twice is harmless."""
        for name in self._names.pop(connection, ()):
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]


def listeners(users_room: LocalRoom) -> list[Connection]:
    """Return the connections in a user's own room, without the parked ones.

    Connections that are still being admitted are told of changes when they are in.
    """
    let_in = users_room.live if not users_room.partly_live else set(users_room.let_in_members)
    return [
        member for member in users_room.members if (member in let_in or member.attempting) and not member.end_reason
    ]
