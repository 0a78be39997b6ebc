"""Whether a gateway heard all announcements of a log, and which notices it has passed on, pure.

| announcement                     | what it means                                                            |
|----------------------------------|--------------------------------------------------------------------------|
| the first of a namespace         | the chain begins here; rooms that were opened before are compared anyway |
| follows the one heard last       | nothing was missed                                                       |
| is the one heard last, again     | nothing was missed                                                       |
| follows another one              | something was missed: all rooms and memberships have to be compared      |
| of another log                   | the log was restored: what was delivered may never have happened         |
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from parley.common.wire.rooms import Announcement

MAX_NOTICES = 10_000
"""Notices that are remembered, the latest ones. The same notice comes twice within seconds."""


class AnnouncementGap(NamedTuple):
    """What follows from an announcement."""

    missed: bool = False
    restored: bool = False


class _Chain(NamedTuple):
    incarnation: str
    last: str


class AnnouncementLog:
    """The last announcement heard of each namespace."""

    def __init__(self) -> None:
        self._chains: dict[str, _Chain] = {}

    def hear(self, announcement: Announcement) -> AnnouncementGap:
        """Take an announcement. Returns whether one was missed before it, and whether the log was restored."""
        before = self._chains.get(announcement.namespace)
        last = announcement.id or announcement.after
        self._chains[announcement.namespace] = _Chain(announcement.incarnation, last)
        if before is None:
            return AnnouncementGap()
        if before.incarnation != announcement.incarnation:
            return AnnouncementGap(missed=True, restored=True)
        return AnnouncementGap(missed=before.last not in (announcement.after, last))


class Notices:
    """Which notices users were given, so that one that is published and announced is given once."""

    def __init__(self, most: int = MAX_NOTICES) -> None:
        self._given: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._most = most

    def take(self, namespace: str, room: str, notice: str) -> bool:
        """Return whether a notice is new in a user's own room, and remember it."""
        key = namespace, room, notice
        if key in self._given:
            return False
        self._given[key] = None
        if len(self._given) > self._most:
            self._given.popitem(last=False)
        return True
