"""What this gateway shows its connections of the rooms that they look at, from what all gateways say.

Who looks first waits until all gateways have said whom they have, and everybody is told of changes together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import msgspec
from prometheus_client import Gauge

from parley.common.errors import Code
from parley.common.wire.operations import LookResult
from parley.common.wire.presence import PresenceChanges, PresencePart, UserPresence
from parley.engineio.packets import Packet
from parley.gateway.connections.connection import Connection
from parley.gateway.presence.looked_room import LookedRoom
from parley.gateway.presence.lookers import Lookers
from parley.gateway.presence.peer_gateways import RoomKey
from parley.gateway.presence.room_reports import is_in
from parley.gateway.rooms.delivery import Outlet
from parley.gateway.socketio.packets import single_event_packet

FOLLOW_UP = 1.0
"""Seconds between two attempts to tell a looker what it missed."""
TICK = 0.2
"""Seconds for which changes are gathered, once where they happen and once where they are looked at."""
PAUSE = 0.01
"""Seconds in which other work has its turn when there is very much to be told."""
KEPT_UNUSED = 30.0
"""Seconds for which a room at which nobody looks any more is still followed: most who look away look again."""
MAX_LOOKED = 20_000
"""Rooms that are looked at here."""
MAX_ENTRIES = 1_000_000
"""Users that are kept of all of them together, before nobody may look at another room."""

LOOKED = Gauge("parley_gateway_looked_rooms", "Rooms that connections here look at, to see who is there")

Answer = Callable[[str, LookResult], object]
"""Sends a result to an inbox."""


@dataclass(slots=True)
class _Shown:
    """A room that connections here look at."""

    room: LookedRoom
    awaited: set[str]
    """The gateways that have not said yet whom they have."""
    missing: set[str] = field(default_factory=set[str])
    """Those of them that are waited for no more."""
    waiting: list[tuple[Connection, str]] = field(default_factory=list[tuple[Connection, str]])
    """Who waits for the first answer, each with its inbox."""
    unused_since: float = float("inf")


class ShownRooms:
    """The rooms that connections here look at, and who looks."""

    def __init__(self, me: str, outlet: Outlet, answer: Answer, linger: float) -> None:
        """Users who have gone from all gateways, which `me` is one of, are shown for `linger` seconds more."""
        self.lookers = Lookers()
        self._me = me
        self._outlet = outlet
        self._answer_to = answer
        self._linger = linger
        self._rooms: dict[RoomKey, _Shown] = {}
        self._entries = 0
        self._unsettled: dict[RoomKey, None] = {}
        """Rooms of which something was heard that the lookers have not been told."""
        self._due: dict[RoomKey, float] = {}
        """When somebody who has gone is to be told of next, by room."""

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def looked_at(self) -> AbstractSet[RoomKey]:
        """The rooms that are looked at."""
        return self._rooms.keys()

    def refusal(self, connection: Connection, key: RoomKey, now: float) -> Code | None:
        """Return why a connection may not look at a room, or None."""
        if not is_in(connection, key[1]):
            return Code.NOT_A_MEMBER
        if (code := self.lookers.refusal(connection, key, now)) is not None:
            return code
        full = len(self._rooms) >= MAX_LOOKED or self._entries >= MAX_ENTRIES
        return Code.OVERLOADED if full and key not in self._rooms else None

    def look(self, connection: Connection, key: RoomKey, inbox: str, living: AbstractSet[str], now: float) -> bool:
        """Begin to show a connection a room. Returns whether nobody here has looked at it before.

        Then it is answered when all `living` gateways have said whom they have.
        """
        shown = self._rooms.get(key)
        if begins := shown is None:
            shown = self._rooms[key] = _Shown(LookedRoom(self._linger), {self._me, *living})
            LOOKED.set(len(self._rooms))
        shown.unused_since = float("inf")
        # A gateway that has died since has nobody whom the answer could lack.
        shown.missing.intersection_update(living)
        self.lookers.add(connection, key, now)
        shown.waiting.append((connection, inbox))
        if not shown.awaited:
            self._answer(key, shown, now)
        return begins

    def give_up(self, key: RoomKey, now: float) -> set[str]:
        """Answer without the gateways that have said nothing. Returns them."""
        shown = self._rooms.get(key)
        if shown is None:
            return set()
        missing, shown.awaited = shown.awaited, set()
        shown.missing |= missing
        self._answer(key, shown, now)
        return missing

    def take(self, gateway: str, parts: Iterable[PresencePart], now: float) -> None:
        """Take over who is in rooms on a gateway, this one included."""
        for part in parts:
            key = (part.namespace, part.room)
            if (shown := self._rooms.get(key)) is None:
                continue
            before = shown.room.entries
            shown.room.put(gateway, part.users, whole=part.whole)
            self._entries += shown.room.entries - before
            self._unsettled[key] = None
            # A gateway's answer may come in several messages, of which the last one completes it.
            if not part.more:
                shown.awaited.discard(gateway)
                shown.missing.discard(gateway)
            if not shown.awaited:
                self._answer(key, shown, now)

    def drop(self, gateway: str) -> None:
        """Forget whom a gateway had, whose lease is over."""
        for key, shown in self._rooms.items():
            before = shown.room.entries
            if shown.room.drop(gateway):
                self._unsettled[key] = None
            self._entries += shown.room.entries - before

    def end_unused(self, now: float) -> list[RoomKey]:
        """Let go of the rooms at which nobody has looked for a while, and return them."""
        ended: list[RoomKey] = []
        for key, shown in self._rooms.items():
            # Who has left the room is noticed when something is told, which in a silent room never happens.
            for connection in list(self.lookers.of(key)):
                if not is_in(connection, key[1]):
                    self.lookers.remove(connection, key)
            if self.lookers.of(key):
                shown.unused_since = float("inf")
            else:
                shown.unused_since = min(shown.unused_since, now)
                if now - shown.unused_since >= KEPT_UNUSED:
                    ended.append(key)
        for key in ended:
            self._entries -= self._rooms.pop(key).room.entries
            self._unsettled.pop(key, None)
            self._due.pop(key, None)
        LOOKED.set(len(self._rooms))
        return ended

    # -- telling those who look ------------------------------------------------------------------------------------

    def tell(self, now: float, *, until: float) -> float | None:
        """Tell the lookers what has changed. Returns in how many seconds there is more to tell, or None.

        It returns at `until` as well, in monotonic seconds, however much is left.
        """
        self._unsettled.update(dict.fromkeys(key for key, when in self._due.items() if when <= now))
        while self._unsettled:
            # One by one, each taken out as it is settled: the time may be up before all are.
            key = next(iter(self._unsettled))
            self._settle(key, self._rooms[key], now)
            if time.monotonic() >= until:
                break
        self._follow_up(now)
        waits = [FOLLOW_UP] if self.lookers.any_unsettled else []
        if self._due:
            # Not sooner, so that users who go shortly after each other are told of together.
            waits.append(max(TICK, min(self._due.values()) - now))
        if self._unsettled:
            waits.append(PAUSE)
        return min(waits, default=None)

    def _answer(self, key: RoomKey, shown: _Shown, now: float) -> None:
        """Answer those who wait, once those who look already were told what has changed, so that all know the same."""
        if not shown.waiting:
            return
        waiting, shown.waiting = shown.waiting, []
        self._settle(key, shown, now)
        users = [(user.id, user.state) for user in shown.room.shown()]
        result = LookResult(self._me, 1, users, shown.room.count, partial=bool(shown.missing))
        for connection, inbox in waiting:
            if (looker := self.lookers.of(key).get(connection)) is not None:
                looker.since, looker.answered = now, True
            self._answer_to(inbox, result)

    def _settle(self, key: RoomKey, shown: _Shown, now: float) -> None:
        self._unsettled.pop(key, None)
        changes = shown.room.settle(now)
        if shown.room.due is None:
            self._due.pop(key, None)
        else:
            self._due[key] = shown.room.due
        if changes is not None:
            self._tell(key, shown, changes, now)

    def _tell(self, key: RoomKey, shown: _Shown, changes: list[UserPresence], now: float) -> None:
        receivers: list[Connection] = []
        user_ids = [user.id for user in changes]
        for connection, looker in list(self.lookers.of(key).items()):
            if not is_in(connection, key[1]):
                self.lookers.remove(connection, key)
            elif looker.stale or not looker.answered:
                # Who is stale is told everything later, and who was not answered yet gets this with the answer.
                continue
            elif self._outlet.congested(connection):
                self.lookers.missed(key, connection, looker)
            else:
                self.lookers.told(key, connection, looker, user_ids, now)
                receivers.append(connection)
        if receivers:
            self._outlet.broadcast(receivers, _packet(key, changes, shown.room.count), volatile=True)

    def _follow_up(self, now: float) -> None:
        """Tell those who read again everything, and those who were answered lately once more what has changed since."""
        for key, connection, looker in self.lookers.unsettled(now):
            shown = self._rooms.get(key)
            if shown is None or not is_in(connection, key[1]):
                self.lookers.remove(connection, key)
            elif not self._outlet.congested(connection):
                room, whole = shown.room, looker.stale
                users = room.shown() if whole else room.states_of(looker.again)
                self.lookers.settled(key, connection, looker)
                self._outlet.broadcast([connection], _packet(key, users, room.count, whole=whole), volatile=True)


def _packet(key: RoomKey, users: list[UserPresence], count: int, *, whole: bool = False) -> Packet:
    namespace, room = key
    changes = PresenceChanges(room, users, count, whole)
    return single_event_packet(namespace, "presence", msgspec.json.encode(changes))
