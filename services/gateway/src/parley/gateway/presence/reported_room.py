"""A room that is looked at, pure: who has been told what of the connections that this gateway has in it.

It exists only while some gateway looks, and what it says changes only for users who were named since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from parley.common.wire.presence import PresentUser

MAX_REPORTED = 10_000
"""Users that one gateway tells others of in one room. Further ones are neither shown nor counted."""

StateOf = Callable[[str], PresentUser | None]
"""Returns the entry of a user, or None for one who is not in the room here."""


class ReportedRoom:
    """One room on this gateway, as those gateways know it that look at it."""

    def __init__(self, most: int = MAX_REPORTED) -> None:
        self._most = most
        self.gateways: set[str] = set()
        """The gateways that look, and have been told everything."""
        self.new_gateways: set[str] = set()
        """The gateways that look, and have to be told everything."""
        self.told: dict[str, PresentUser] = {}
        self._changed: dict[str, None] = {}

    @property
    def looked_at(self) -> bool:
        """Whether any gateway looks."""
        return bool(self.gateways or self.new_gateways)

    def changed(self, user_ids: Iterable[str]) -> None:
        """Note that users may have come, gone or changed."""
        self._changed.update(dict.fromkeys(user_ids))

    def begin(self, gateway: str) -> None:
        """Note that a gateway looks and knows nothing yet, or has lost what it knew."""
        self.gateways.discard(gateway)
        self.new_gateways.add(gateway)

    def end(self, gateway: str) -> None:
        """Note that a gateway does not look any more."""
        self.gateways.discard(gateway)
        self.new_gateways.discard(gateway)

    def compare(self, user_ids: Iterable[str]) -> None:
        """Look again at everybody: those who are here by now, and those who were told of."""
        self.changed(self.told)
        self.changed(user_ids)

    def report(self, state_of: StateOf) -> tuple[list[PresentUser], set[str]]:
        """Return what has changed, for `gateways`, and whom `told` is new to as a whole. All are told afterwards."""
        changes: list[PresentUser] = []
        for user_id in self._changed:
            before, now = self.told.get(user_id), state_of(user_id)
            if now == before:
                continue
            if now is None:
                del self.told[user_id]
                changes.append(PresentUser(user_id, "offline"))
            elif before is not None or len(self.told) < self._most:
                self.told[user_id] = now
                changes.append(now)
        self._changed.clear()
        return changes, self.new_gateways

    def reported(self) -> None:
        """Note that everybody has been told of everything."""
        self.gateways |= self.new_gateways
        self.new_gateways.clear()
