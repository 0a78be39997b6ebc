"""What this gateway tells those that look at rooms, itself included, of its own connections.

A room that nobody looks at costs nothing: what comes, goes and changes there is not noticed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice

from parley.common.nats.chunks import split_by_size
from parley.common.wire.presence import PresencePart, PresentUser
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.presence.peer_gateways import RoomKey
from parley.gateway.presence.reported_room import MAX_REPORTED, ReportedRoom
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
        self._new: dict[RoomKey, None] = {}
        """The rooms that a gateway has to be told of as a whole."""
        self._compared: dict[RoomKey, None] = {}
        """The rooms in which everybody has to be looked at, whatever was noticed."""

    def begin(self, key: RoomKey, gateway: str) -> None:
        """Note that a gateway looks at a room and has to be told everything."""
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = ReportedRoom()
            self._compared[key] = None
            # Watched before anybody is looked up, so that who comes in between is not missed.
            self._fanout.watch(*key, partial(self._moved, key))
        room.begin(gateway)
        self._new[key] = None

    def end(self, key: RoomKey, gateway: str) -> None:
        """Note that a gateway looks at a room no more."""
        if (room := self._rooms.get(key)) is not None:
            room.end(gateway)
            if not room.looked_at:
                del self._rooms[key]
                for keys in (self._changed, self._new, self._compared):
                    keys.pop(key, None)
                self._fanout.watch(*key, None)

    def changed(self, connection: Connection) -> None:
        """Note that a user may be shown otherwise in the rooms of a connection."""
        if self._rooms:
            for room in connection.rooms:
                if (key := (connection.namespace, room)) in self._rooms:
                    self._moved(key, connection)

    def compare(self) -> None:
        """Look at everybody in all these rooms soon, whatever was noticed."""
        self._compared.update(dict.fromkeys(self._rooms))
        self._changed.update(self._compared)
        if self._rooms:
            self._on_change()

    @property
    def any_new(self) -> bool:
        """Whether a gateway waits to be told of a room as a whole."""
        return bool(self._new)

    @property
    def any_changed(self) -> bool:
        """Whether there is something else to be told."""
        return bool(self._changed)

    def take(self, *, new: bool, until: float) -> Mapping[str, list[PresencePart]]:
        """Return what is to be told, by gateway: of rooms that are new to one, or of those that have changed.

        What is returned counts as told. It returns at `until`, in monotonic seconds, and may be called again for the
        rest: after an outage everybody wants to be told everything at once.
        """
        keys = self._new if new else self._changed
        told: defaultdict[str, list[PresencePart]] = defaultdict(list)
        while keys:
            key = next(iter(keys))
            # Both: a room that is told as a whole, or has changed, is told in one go, whatever it was taken for.
            self._changed.pop(key, None)
            self._new.pop(key, None)
            room = self._rooms[key]
            if key in self._compared:
                del self._compared[key]
                room.compare(self._users_in(key))
            changes, gateways = room.report(partial(self._entry, key))
            for gateway in room.gateways if changes else ():
                told[gateway] += pieces(key, changes, whole=False)
            for gateway in gateways:
                told[gateway] += pieces(key, list(room.told.values()), whole=True)
            room.reported()
            if time.monotonic() >= until:
                break
        return told

    def present(self, key: RoomKey) -> Iterator[PresentUser]:
        """Yield who is in a room here, whether anybody looks at it or not."""
        # A list of its own: whoever takes them one after the other lets others come and go meanwhile.
        for user_id in islice(list(dict.fromkeys(self._users_in(key))), MAX_REPORTED):
            if (entry := self._entry(key, user_id)) is not None:
                yield entry

    def _moved(self, key: RoomKey, connection: Connection) -> None:
        self._rooms[key].changed((connection.identity.user_id,))
        self._changed[key] = None
        self._on_change()

    def _users_in(self, key: RoomKey) -> Iterable[str]:
        return (connection.identity.user_id for connection in self._fanout.members(*key))

    def _entry(self, key: RoomKey, user_id: str) -> PresentUser | None:
        # An administrator who looks on in somebody's place does not make them present.
        theirs = (each for each in self._connections.of_user(user_id, key[0]) if not each.identity.looks_on)
        return self.choices.entry(user_id, (each for each in theirs if is_in(each, key[1])))


def is_in(connection: Connection, room: str) -> bool:
    """Return whether a connection is open and in a room."""
    return connection.state is ConnectionState.OPEN and room in connection.rooms


def weight(part: PresencePart) -> int:
    """Return about how many bytes a part has."""
    names = sum(len(user.user_id) for user in part.users)
    return names + OVERHEAD * (1 + len(part.users)) + len(part.namespace) + len(part.room)


def pieces(key: RoomKey, users: list[PresentUser], *, whole: bool) -> list[PresencePart]:
    """Return users as parts that fit a message each. If `whole`, the first replaces what was known."""
    chunks = list(split_by_size(users, PIECE_BYTES, lambda user: len(user.user_id) + OVERHEAD)) or [[]]
    return [
        PresencePart(*key, chunk, whole and not number, number < len(chunks) - 1) for number, chunk in enumerate(chunks)
    ]
