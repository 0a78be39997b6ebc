"""The connections that look at rooms, pure: at how many, how often they may begin, and what each was told.

| a looker | is told |
|---|---|
| answered | every change, as it happens |
| answered lately | the same, and what changed meanwhile once more when `YOUNG` seconds are over |
| that read too slowly for a change | everything, once it reads again |

The second row is there because changes come from the gateway and the answer by way of the service, so that the answer
may come later and be older.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from parley.common.errors import Code
from parley.common.rate_limiter import RateLimiter
from parley.gateway.connections.connection import Connection
from parley.gateway.presence.peer_gateways import RoomKey

MAX_LOOKS = 100
"""Rooms that one connection may look at."""
LOOKS_PER_SECOND, LOOKS_BURST = 10.0, 100
"""How often one user may begin to look."""
YOUNG = 6.0
"""Seconds after which an answer has arrived, or the gateway has told the client that there is none."""


@dataclass(slots=True)
class Looker:
    """One connection that looks at one room."""

    since: float
    answered: bool = False
    again: set[str] = field(default_factory=set[str])
    """Users to be told of once more."""
    stale: bool = False
    """Whether it has missed a change."""


class Lookers:
    """All connections here that look, by room."""

    def __init__(self) -> None:
        self.rates = RateLimiter(LOOKS_PER_SECOND, LOOKS_BURST)
        """By user. `RoomPresence` sweeps it."""
        self._rooms: dict[RoomKey, dict[Connection, Looker]] = {}
        self._looking: dict[Connection, set[RoomKey]] = {}
        self._unsettled: dict[tuple[RoomKey, Connection], Looker] = {}

    def refusal(self, connection: Connection, key: RoomKey, now: float) -> Code | None:
        """Return why a connection may not begin to look, or None. It counts."""
        if not self.rates.take(connection.identity.user_id, now):
            return Code.RATE_LIMITED
        looking = self._looking.get(connection, ())
        return Code.LIMIT_EXCEEDED if key not in looking and len(looking) >= MAX_LOOKS else None

    def add(self, connection: Connection, key: RoomKey, now: float) -> None:
        """Note that a connection begins to look, or wants to be told everything once more."""
        # Begun anew: whatever it was told before, or has missed, the answer to come has it all.
        self.remove(connection, key)
        self._rooms.setdefault(key, {})[connection] = Looker(now)
        self._looking.setdefault(connection, set()).add(key)

    def remove(self, connection: Connection, key: RoomKey) -> None:
        """Note that a connection looks no more. Doing it twice is harmless."""
        self._unsettled.pop((key, connection), None)
        if (lookers := self._rooms.get(key)) is not None:
            lookers.pop(connection, None)
            if not lookers:
                del self._rooms[key]
        if (looking := self._looking.get(connection)) is not None:
            looking.discard(key)
            if not looking:
                del self._looking[connection]

    def leave(self, connection: Connection) -> None:
        """Note that a connection has ended."""
        for key in list(self._looking.get(connection, ())):
            self.remove(connection, key)

    def of(self, key: RoomKey) -> Mapping[Connection, Looker]:
        """Return who looks at a room."""
        return self._rooms.get(key, {})

    def missed(self, key: RoomKey, connection: Connection, looker: Looker) -> None:
        """Note that a looker could not be told of a change."""
        looker.stale = True
        self._unsettled[key, connection] = looker

    def told(self, key: RoomKey, connection: Connection, looker: Looker, user_ids: list[str], now: float) -> None:
        """Note that a looker was told of these users."""
        if now - looker.since < YOUNG:
            looker.again.update(user_ids)
            self._unsettled[key, connection] = looker

    def settled(self, key: RoomKey, connection: Connection, looker: Looker) -> None:
        """Note that nothing is left to be told to a looker."""
        looker.stale = False
        looker.again.clear()
        self._unsettled.pop((key, connection), None)

    @property
    def any_unsettled(self) -> bool:
        """Whether somebody is to be told something later."""
        return bool(self._unsettled)

    def unsettled(self, now: float) -> Iterator[tuple[RoomKey, Connection, Looker]]:
        """Return those who missed something, and those whose answer has arrived by now."""
        for (key, connection), looker in list(self._unsettled.items()):
            if looker.stale or now - looker.since >= YOUNG:
                yield key, connection, looker
