"""What this gateway tells those that look at rooms, itself included, of its own connections.

A room that nobody looks at costs nothing: what comes, goes and changes there is not noticed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from parley.common.nats.chunks import split_by_size
from parley.common.wire.presence import PresencePart, PresentUser
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.presence.peer_gateways import RoomKey
from parley.gateway.presence.reported_room import ReportedRoom
from parley.gateway.presence.user_states import UserChoices
from parley.gateway.rooms.fanout import Fanout

PIECE_BYTES = 192 * 1024
"""A part is cut here, so that it fits a message."""
OVERHEAD = 32
"""Bytes counted for a user or a room besides its name."""


class RoomReports:
    """The rooms that some gateway looks at."""

    def __init__(self, connections: ConnectionRegistry, fanout: Fanout, changed: Callable[[], object]) -> None:
        """`changed` is called when there is something to be told soon."""
        self.choices = UserChoices()
        """What users chose by hand who have a connection here."""
        self._connections = connections
        self._fanout = fanout
        self._on_change = changed
        self._rooms: dict[RoomKey, ReportedRoom] = {}
        self._changed: dict[RoomKey, None] = {}

    def begin(self, key: RoomKey, gateway: str) -> None:
        """Note that a gateway looks at a room and has to be told everything."""
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = ReportedRoom()
            room.compare(self._users_in(key))
            self._fanout.watch(*key, partial(self._moved, key))
        room.begin(gateway)

    def end(self, key: RoomKey, gateway: str) -> None:
        """Note that a gateway looks at a room no more."""
        if (room := self._rooms.get(key)) is not None:
            room.end(gateway)
            if not room.looked_at:
                del self._rooms[key]
                self._changed.pop(key, None)
                self._fanout.watch(*key, None)

    def changed(self, connection: Connection) -> None:
        """Note that a user may be shown otherwise in the rooms of a connection."""
        if self._rooms:
            for room in connection.rooms:
                if (key := (connection.namespace, room)) in self._rooms:
                    self._moved(key, connection)

    def compare(self) -> None:
        """Look at everybody in all these rooms, whatever was noticed."""
        for key, room in self._rooms.items():
            room.compare(self._users_in(key))
            self._changed[key] = None
        if self._rooms:
            self._on_change()

    def take(self, keys: Iterable[RoomKey] | None = None) -> Mapping[str, list[PresencePart]]:
        """Return what has to be told of some rooms, or of all that have changed, by gateway. It counts as told."""
        if keys is None:
            keys, self._changed = self._changed, {}
        told: defaultdict[str, list[PresencePart]] = defaultdict(list)
        for key in keys:
            self._changed.pop(key, None)
            if (room := self._rooms.get(key)) is None:
                continue
            changes, new = room.report(partial(self._entry, key))
            for gateway in room.gateways if changes else ():
                told[gateway] += _pieces(key, changes, whole=False)
            for gateway in new:
                told[gateway] += _pieces(key, list(room.told.values()), whole=True)
            room.reported()
        return told

    def _moved(self, key: RoomKey, connection: Connection) -> None:
        self._rooms[key].changed((connection.identity.user_id,))
        self._changed[key] = None
        self._on_change()

    def _users_in(self, key: RoomKey) -> Iterable[str]:
        return (connection.identity.user_id for connection in self._fanout.members(*key))

    def _entry(self, key: RoomKey, user_id: str) -> PresentUser | None:
        theirs = self._connections.of_user(user_id, key[0])
        return self.choices.entry(user_id, (each for each in theirs if is_in(each, key[1])))


def is_in(connection: Connection, room: str) -> bool:
    """Return whether a connection is open and in a room."""
    return connection.state is ConnectionState.OPEN and room in connection.rooms


def weight(part: PresencePart) -> int:
    """Return about how many bytes a part has."""
    names = sum(len(user.user_id) for user in part.users)
    return names + OVERHEAD * (1 + len(part.users)) + len(part.namespace) + len(part.room)


def _pieces(key: RoomKey, users: list[PresentUser], *, whole: bool) -> list[PresencePart]:
    """Return users as parts that fit a message each. If `whole`, the first replaces what was known."""
    chunks = list(split_by_size(users, PIECE_BYTES, lambda user: len(user.user_id) + OVERHEAD)) or [[]]
    return [
        PresencePart(*key, chunk, whole and not number, number < len(chunks) - 1) for number, chunk in enumerate(chunks)
    ]
