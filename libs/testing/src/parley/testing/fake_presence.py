"""Who is in the rooms that fake connections look at: what real gateways tell, without their patience.

What a user is shown as is decided by the gateway's own rules. Changes are told at once, and nobody who has gone is
shown for a while.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

import msgspec

from parley.common.errors import Code
from parley.common.wire.operations import Look, LookResult, PresentReport, SetPresence
from parley.common.wire.presence import PresenceChanges, PresencePart, PresentUser
from parley.common.wire.rooms import UnloggedEvent
from parley.gateway.presence.looked_room import LookedRoom
from parley.gateway.presence.lookers import MAX_LOOKS
from parley.gateway.presence.user_states import CHOICES, choice_in
from parley.testing.fake_connection import GATEWAY, FakeConnection


class FakePresence:
    """Presence in a fake namespace. `refresh` is called after whatever may have changed who is in a room."""

    def __init__(self, connections: Collection[FakeConnection]) -> None:
        self._connections = connections
        self._choices: dict[str, tuple[str, int]] = {}
        self._idle: set[FakeConnection] = set()
        self._rooms: dict[str, LookedRoom] = {}
        self._lookers: dict[tuple[str, FakeConnection], None] = {}

    def look(self, looker: FakeConnection | None, look: Look) -> LookResult:
        """Begin to show a connection who is in a room."""
        if looker is None:
            return LookResult(GATEWAY, 0)
        if look.room not in looker.rooms:
            return LookResult(GATEWAY, 1, code=str(Code.NOT_A_MEMBER))
        looking = [room for room, who in self._lookers if who is looker]
        if look.room not in looking and len(looking) >= MAX_LOOKS:
            return LookResult(GATEWAY, 1, code=str(Code.LIMIT_EXCEEDED))
        self.refresh()
        if (room := self._rooms.get(look.room)) is None:
            room = self._rooms[look.room] = LookedRoom(0.0)
            self.refresh()
        self._lookers[look.room, looker] = None
        return LookResult(GATEWAY, 1, [(user.id, user.state) for user in room.shown()], room.count)

    def stop(self, room: str, looker: FakeConnection) -> None:
        """Show a connection no more of a room."""
        self._lookers.pop((room, looker), None)

    def present(self, namespace: str, rooms: Iterable[str]) -> PresentReport:
        """Say who is in rooms, once."""
        parts = [PresencePart(namespace, room, self._entries(room), whole=True) for room in rooms]
        return PresentReport(GATEWAY, sum(len(part.users) for part in parts), parts)

    def set(self, connections: Collection[FakeConnection], wanted: SetPresence) -> None:
        """Set what the users of these connections chose, or whether the connections are idle."""
        for connection in connections:
            if wanted.choice in CHOICES:
                self._choices[connection.identity.user_id] = wanted.choice, wanted.since
            if wanted.idle is not None:
                (self._idle.add if wanted.idle else self._idle.discard)(connection)
        self.refresh()

    def opened(self, connection: FakeConnection) -> None:
        """Take over what a client chose at CONNECT, before anybody sees it."""
        if choice := choice_in(connection.handshake.auth):
            self._choices[connection.identity.user_id] = choice, round(time.time() * 1000)

    def refresh(self) -> None:
        """Tell those who look what has changed."""
        # Who has gone, or has left the room, looks no more, as on a gateway.
        self._lookers = {
            (room, looker): None
            for room, looker in self._lookers
            if looker in self._connections and room in looker.rooms
        }
        online = {connection.identity.user_id for connection in self._connections}
        self._choices = {user_id: choice for user_id, choice in self._choices.items() if user_id in online}
        for name, room in self._rooms.items():
            room.put(GATEWAY, self._entries(name), whole=True)
            if (changes := room.settle(0.0)) is None:
                continue
            args = msgspec.json.encode([PresenceChanges(name, changes, room.count)])
            for _, looker in [each for each in self._lookers if each[0] == name]:
                # A signal: who reads slowly is told the next time, as by a gateway.
                if not looker.congested:
                    looker.deliver(UnloggedEvent("presence", args))

    def _entries(self, room: str) -> list[PresentUser]:
        entries: dict[str, PresentUser] = {}
        for connection in self._connections:
            user_id = connection.identity.user_id
            if room not in connection.rooms:
                continue
            choice, since = self._choices.get(user_id, ("automatic", 0))
            if choice != "automatic":
                entries[user_id] = PresentUser(user_id, choice, since)
            elif connection not in self._idle:
                entries[user_id] = PresentUser(user_id, "online")
            else:
                entries.setdefault(user_id, PresentUser(user_id, "away"))
        return list(entries.values())
