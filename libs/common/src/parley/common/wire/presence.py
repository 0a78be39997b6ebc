"""Presence between gateways: which rooms the connections of one look at, and who is in them on the others.

A gateway that has somebody who looks at a room says so to all (`LookedRooms`). Each of the others answers that one with
who is in the room there, and with what changes as long as it looks (`PresenceParts`). Whoever finds that it has missed
something asks (`GetLookedRooms`).

What a user is shown as follows from what each of their devices does and from what they chose by hand:

| on any gateway | shown as |
|---|---|
| the user chose a state by hand | the latest choice; `invisible` is shown as `offline` |
| else a connection that is not idle | `online` |
| else a connection | `away` |
| else | `offline` |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import msgspec

from parley.common.wire.codec import Wire

ShownState = Literal["online", "away", "dnd", "offline"]
"""What a user is shown as. `dnd` is "do not disturb", `offline` is who is not there, or does not want to be seen."""
PresenceChoice = Literal["online", "away", "dnd", "invisible", "automatic"]
"""What a user may choose by hand: a state, not to be seen, or what their devices do."""

MAX_LISTED = 500
"""Users that are shown of one room. Of a room with more, those who came first are, and how many there are."""


class PresentUser(Wire, frozen=True):
    """One user in one room on one gateway.

    `state` is one of `online`, `away`, `dnd`, `invisible`, or `offline` for one who is gone. `since` is when the user
    chose it by hand, in Unix milliseconds, and 0 for what follows from what their devices do. The latest choice counts.
    """

    user_id: str
    state: str
    since: int = 0


def counting_entry(entries: Iterable[PresentUser]) -> PresentUser | None:
    """Return which of a user's entries counts, at most one of each gateway; None if there is none."""
    counts: PresentUser | None = None
    for entry in entries:
        if counts is None or entry.since > counts.since or (not counts.since and counts.state != "online"):
            counts = entry
    return counts


def shown_state(entries: Iterable[PresentUser]) -> ShownState:
    """Return what a user is shown as who has these entries, at most one of each gateway."""
    counts = counting_entry(entries)
    return "offline" if counts is None or counts.state == "invisible" else cast("ShownState", counts.state)


class PresencePart(Wire, frozen=True):
    """Who is in a room on one gateway: the changes or, if `whole`, everybody.

    With `more`, the rest of them follows in the next part of the room.
    """

    namespace: str
    room: str
    users: list[PresentUser]
    whole: bool = False
    more: bool = False


class LookedRooms(Wire, frozen=True, tag="looks"):
    """A gateway's connections begin to look at rooms, and look at others no longer; each a namespace and a room.

    `sequence` counts the changes. It stays as it is in what only says how far the gateway is, and in what goes to one
    gateway alone. If `whole`, `begun` and what follows with the same sequence are all rooms. There are `total` of them.
    """

    gateway: str
    sequence: int
    begun: list[tuple[str, str]] = []
    ended: list[tuple[str, str]] = []
    whole: bool = False
    total: int = 0


class PresenceParts(Wire, frozen=True, tag="parts"):
    """Who is in rooms on one gateway, for one gateway that looks at them. `sequence` counts what has parts."""

    gateway: str
    sequence: int
    parts: list[PresencePart] = []


class GetLookedRooms(Wire, frozen=True, tag="get"):
    """Ask for all rooms that are looked at."""

    gateway: str


PresenceMessage = LookedRooms | PresenceParts | GetLookedRooms
_messages = msgspec.msgpack.Decoder[PresenceMessage](PresenceMessage)


def decode_presence(data: bytes) -> PresenceMessage:
    """Decode a message of any kind. Raises as `decode` does."""
    return _messages.decode(data)


class UserPresence(msgspec.Struct, frozen=True):
    """One user, as who looks at a room is told: `offline` is said once, of somebody who was there."""

    id: str
    state: ShownState


class Presence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who is in a room: at most 500 users, and how many there are.

    It is `partial` when a gateway that may have more of them did not answer in time.
    """

    users: list[UserPresence]
    count: int
    partial: bool = False


class PresenceChanges(msgspec.Struct, frozen=True, omit_defaults=True):
    """The event `presence`: users who came, went or changed. If `whole`, they are all there are, and replace others."""

    room: str
    users: list[UserPresence]
    count: int
    whole: bool = False
