"""A room that connections here look at, pure: who is in it on all gateways, and what the lookers have been told.

| input | what lookers are told, once it is settled |
|---|---|
| a user comes, or changes | the new state, if the user is among those shown |
| a user has gone, from every gateway | `offline`, when the user is not back after `linger` seconds |
| a user chooses not to be seen | `offline`, at once |
| the lease of a gateway is over | as if all users there had gone |

A user is somebody who is on any gateway, and counts once. At most `MAX_LISTED` of them are shown; when one of these
goes, one who was not shown is. So whoever applies all changes to an earlier list has the present one.
"""

from __future__ import annotations

from collections.abc import Iterable

from parley.common.wire.presence import MAX_LISTED, PresentUser, ShownState, UserPresence, shown_state


class LookedRoom:
    """One room. `settle` says what has changed since it was called last."""

    def __init__(self, linger: float, most: int = MAX_LISTED) -> None:
        """`linger`: clients that reload a page, or whose gateway stops, are soon back."""
        self._most = most
        self._linger = linger
        self._parts: dict[str, dict[str, PresentUser]] = {}
        """Who is there, by gateway."""
        self._states: dict[str, ShownState] = {}
        """Everybody who counts, those included who have just gone."""
        self._shown: dict[str, ShownState] = {}
        self._unshown: dict[str, None] = {}
        self._going: dict[str, float] = {}
        """Who has gone, and when that is told. It has the order of these times."""
        self._changed: dict[str, None] = {}
        self._told = 0

    @property
    def gateways(self) -> Iterable[str]:
        """The gateways that have said who is there."""
        return self._parts.keys()

    @property
    def entries(self) -> int:
        """How many users are kept, each once for each gateway."""
        return sum(map(len, self._parts.values()))

    @property
    def count(self) -> int:
        """How many users there are."""
        return len(self._states)

    @property
    def due(self) -> float | None:
        """When somebody who has gone is to be told of next; None if nobody is."""
        return next(iter(self._going.values()), None)

    def put(self, gateway: str, users: Iterable[PresentUser], *, whole: bool) -> None:
        """Take over the changes on a gateway or, if `whole`, all users there."""
        part = self._parts.setdefault(gateway, {})
        if whole:
            # Those that are not named any more have changed as well: they have gone from this gateway.
            self._changed.update(dict.fromkeys(part))
            part.clear()
        for user in users:
            if user.state == "offline":
                part.pop(user.user_id, None)
            else:
                part[user.user_id] = user
            self._changed[user.user_id] = None

    def drop(self, gateway: str) -> bool:
        """Forget the users of a gateway. Returns whether it had said who is there."""
        part = self._parts.pop(gateway, None)
        self._changed.update(dict.fromkeys(part or ()))
        return part is not None

    def settle(self, now: float) -> list[UserPresence] | None:
        """Return what has changed for those shown; None if not even their number has."""
        changes: dict[str, ShownState] = {}
        for user_id in self._changed:
            self._change(user_id, now, changes)
        self._changed.clear()
        for user_id, due in list(self._going.items()):
            if due > now:
                break
            self._remove(user_id, changes)
        # Whoever has gone makes room, in this very call, for those who came when there was none.
        while self._unshown and len(self._shown) < self._most:
            user_id = next(iter(self._unshown))
            del self._unshown[user_id]
            self._shown[user_id] = changes[user_id] = self._states[user_id]
        if not changes and self._told == len(self._states):
            return None
        self._told = len(self._states)
        return [UserPresence(user_id, state) for user_id, state in changes.items()]

    def shown(self) -> list[UserPresence]:
        """Return everybody who is shown, as of the last `settle`."""
        return [UserPresence(user_id, state) for user_id, state in self._shown.items()]

    def states_of(self, user_ids: Iterable[str]) -> list[UserPresence]:
        """Return what these users are shown as, as of the last `settle`."""
        return [UserPresence(user_id, self._shown.get(user_id, "offline")) for user_id in user_ids]

    def _change(self, user_id: str, now: float, changes: dict[str, ShownState]) -> None:
        entries = [entry for part in self._parts.values() if (entry := part.get(user_id)) is not None]
        state = shown_state(entries)
        if state == "offline":
            # They are connected and chose not to be seen, which nobody should have to wait for.
            if entries:
                self._remove(user_id, changes)
            elif user_id in self._states:
                self._going.setdefault(user_id, now + self._linger)
            return
        # Back in time: nobody was told that the user had gone, so nobody is told of the return.
        self._going.pop(user_id, None)
        before = self._states.get(user_id)
        self._states[user_id] = state
        if user_id in self._shown:
            if before != state:
                self._shown[user_id] = changes[user_id] = state
        else:
            self._unshown[user_id] = None

    def _remove(self, user_id: str, changes: dict[str, ShownState]) -> None:
        self._going.pop(user_id, None)
        self._states.pop(user_id, None)
        self._unshown.pop(user_id, None)
        if self._shown.pop(user_id, None) is not None:
            changes[user_id] = "offline"
