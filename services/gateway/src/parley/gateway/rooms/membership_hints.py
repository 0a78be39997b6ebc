"""Whether what a user's own room says of joins and leaves may be believed, or the service has to be asked.

A hint is published at once, but its publisher may have stood still between commit and publish; an announced change may
have been in the log for long. A late leave does no harm. A late join could bring back somebody who has left since.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from parley.common.wire.rooms import MembershipChange
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms.local_room import LocalRoom
from parley.gateway.rooms.room_registry import RoomRegistry, listeners

LATE_SECONDS = 30.0
"""Seconds by which a hint may be late, because a service was cut off or stood still between commit and publish. A
connection that was admitted less long ago may have left in between, so the service is asked about a join."""


class MembershipHints:
    """Has changes applied, or asked about. Connections that are being admitted are told when they are in."""

    def __init__(self, rooms: RoomRegistry, apply: Callable[[Connection, MembershipChange], None]) -> None:
        self._rooms = rooms
        self._apply = apply
        self.on_uncertain_join: Callable[[Connection], object] = lambda _connection: None
        """Called with a connection whose user joined a room, and may have left it before being admitted."""

    def take(self, users_room: LocalRoom, change: MembershipChange) -> None:
        """Take a hint for all connections of a user."""
        for connection in listeners(users_room):
            if connection.attempting:
                connection.pending_changes.append(change)
            else:
                self.take_for(connection, change)

    def take_for(self, connection: Connection, change: MembershipChange) -> None:
        """Apply a hint to one connection, or ask the service about it.

        A connection that was admitted long before can apply one.
        """
        if not self._is_new(connection) or self._is_safe(connection, change):
            self._apply(connection, change)
        else:
            self._ask_about(connection, change)

    def take_announced(self, users_room: LocalRoom, change: MembershipChange) -> None:
        """Apply an announced change, or ask the service about it.

        The change may have been in the log for long, so a connection that was admitted after it knows better what
        followed.
        """
        for connection in listeners(users_room):
            if not self._is_safe(connection, change):
                self._ask_about(connection, change)
            elif connection.attempting:
                connection.pending_changes.append(change)
            else:
                self._apply(connection, change)

    def asks_about(self, connection: Connection) -> bool:
        """Ask the service about a connection that was admitted just now. Returns whether it was."""
        if self._is_new(connection):
            self.on_uncertain_join(connection)
            return True
        return False

    def _is_new(self, connection: Connection) -> bool:
        return time.monotonic() - connection.opened_at < LATE_SECONDS

    def _is_safe(self, connection: Connection, change: MembershipChange) -> bool:
        """Return whether a change may be applied however old it is.

        Only a join can bring back somebody who has left since.
        """
        room = self._rooms.get(connection.namespace, change.room)
        return not change.joined or (room is not None and connection in room)

    def _ask_about(self, connection: Connection, change: MembershipChange) -> None:
        if change.sequence > connection.last_change.get(change.room, 0):
            self.on_uncertain_join(connection)
