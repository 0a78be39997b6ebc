"""Who is in a room now, for those who ask once: over REST, and the notifier for `@here`.

Nothing of it is kept but the last answer of each room, for `HELD` seconds. So however many ask of a room, gateways are
asked once in that time by each chat; and as one question follows the other, they have few in hand.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Collection, Mapping
from typing import Annotated, NamedTuple

import msgspec

from parley.chat.domain.fields import RoomId
from parley.chat.signals.room_places import RoomPlaces
from parley.common.batch_loader import BatchLoader
from parley.common.rate_limiter import RateLimiter
from parley.common.wire import subjects
from parley.common.wire.presence import MAX_LISTED, PresenceChoice, ShownState
from parley.framework import Code, Emitter, Identity, PresentUsers, Reject, UserPresence, get_logger

log = get_logger(__name__)

ROOMS_AT_ONCE = 20
"""Rooms in one question to the gateways."""
USERS_AT_ONCE = 200
"""Users in one question to the gateways about what they are shown as themselves."""
HELD = 1.0
"""Seconds for which an answer is given again."""
MAX_HELD = 200_000
"""Users in all answers that are held."""
ONLINE_SECONDS = 5.0
"""Seconds after which no further room is asked of for `@here`: notifications of others wait behind it."""
QUESTIONS_PER_SECOND, QUESTIONS_BURST = 10.0, 100
"""How often one user may ask, as with looking."""


class ListPresence(msgspec.Struct, frozen=True):
    """`presence.list`: who of a room is there now. `after` is the last user's id of the page before."""

    room: RoomId
    after: Annotated[str, msgspec.Meta(max_length=128)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = MAX_LISTED


class PresencePage(msgspec.Struct, frozen=True):
    """Users who are there, by their ids, and how many there are in all.

    It is `partial` when a gateway did not answer in time, so that users on it are missing.
    """

    users: list[UserPresence]
    count: int
    more: bool
    partial: bool


class GetOwnPresence(msgspec.Struct, frozen=True):
    """`presence.own`: what one is shown as."""


class OwnPresenceState(msgspec.Struct, frozen=True):
    """What others are shown of the sender, and what of it was chosen by hand. `partial` is as in `presence.list`."""

    state: ShownState
    choice: PresenceChoice
    partial: bool


class _Answer(NamedTuple):
    users: list[UserPresence]
    """By their ids."""
    partial: bool


class PresentMembers:
    """Asks the gateways, for members alone."""

    def __init__(self, everybody: Emitter, places: RoomPlaces) -> None:
        self.rates = RateLimiter(QUESTIONS_PER_SECOND, QUESTIONS_BURST)
        """By user. The service sweeps it."""
        self._everybody = everybody
        self._places = places
        self._loader = BatchLoader[str, _Answer](self._ask, ROOMS_AT_ONCE)
        self._owners = BatchLoader[str, PresentUsers](self._ask_everybody, USERS_AT_ONCE)
        self._held: dict[str, tuple[float, _Answer]] = {}

    async def close(self) -> None:
        """Ask no more."""
        await self._loader.close()
        await self._owners.close()

    async def page(self, identity: Identity, asked: ListPresence) -> PresencePage:
        """Return who of a room is there, to a member.

        Raises `Reject`: `rate_limited`, `not_a_member`, and `not_found` where the room is not visible.
        """
        self._take(identity)
        await self._places.of_member(asked.room, identity.user_id)
        found = await self._answer(asked.room)
        start = bisect_right(found.users, asked.after, key=lambda user: user.id) if asked.after else 0
        users = found.users[start : start + asked.limit]
        return PresencePage(users, len(found.users), start + asked.limit < len(found.users), found.partial)

    async def own(self, identity: Identity) -> OwnPresenceState:
        """Return what a user is shown as. Raises `Reject(rate_limited)`."""
        self._take(identity)
        # Every connection of a user is in the user's own room, and nobody else's is.
        found = await self._owners.load(subjects.user_room(identity.user_id)) or PresentUsers({}, partial=True)
        entry = found.entries.get(identity.user_id)
        choice = msgspec.convert(entry.state, PresenceChoice) if entry is not None and entry.since else "automatic"
        return OwnPresenceState(found.shown().get(identity.user_id, "offline"), choice, found.partial)

    async def choose(self, identity: Identity, choice: PresenceChoice) -> None:
        """Set what a user is shown as, on the connections that the user has.

        Raises `Reject`: `not_found` without any, since nothing is kept then, and `timeout`.
        """
        if not await self._everybody.set_presence(identity.user_id, choice):
            raise Reject(Code.NOT_FOUND, "You have no connection that would be shown so.")

    async def online(self, rooms: Collection[str]) -> Mapping[str, list[str]]:
        """Return who is shown as `online` in rooms at this moment, as far as gateways answer. Raises `Reject`."""
        found: dict[str, list[str]] = {}
        asked, until = list(rooms), time.monotonic() + ONLINE_SECONDS
        for start in range(0, len(asked), ROOMS_AT_ONCE):
            if time.monotonic() >= until:
                log.warning("gateways are too slow to say who is there", rooms=len(asked) - start)
                break
            answers = await self._everybody.present(*asked[start : start + ROOMS_AT_ONCE])
            for room, present in answers.items():
                found[room] = [user_id for user_id, state in present.shown().items() if state == "online"]
                if present.partial:
                    log.warning("not every gateway said who is there", room=room)
        return found

    def _take(self, identity: Identity) -> None:
        if not self.rates.take(identity.user_id, time.monotonic()):
            raise Reject(Code.RATE_LIMITED)

    async def _answer(self, room: str) -> _Answer:
        # Whoever asks within this time gets the same, so a room that all look at costs one question.
        held = self._held.get(room)
        if held is not None and time.monotonic() < held[0]:
            return held[1]
        return await self._loader.load(room) or _Answer([], partial=True)

    async def _ask_everybody(self, rooms: list[str]) -> Mapping[str, PresentUsers]:
        return await self._everybody.present(*rooms)

    async def _ask(self, rooms: list[str]) -> Mapping[str, _Answer]:
        found = {
            room: _Answer([UserPresence(*user) for user in sorted(present.shown().items())], present.partial)
            for room, present in (await self._ask_everybody(rooms)).items()
        }
        now = time.monotonic()
        # Swept with each question, so nothing needs a timer; if it is too much all the same, nothing is held.
        held = {room: one for room, one in self._held.items() if now < one[0]}
        held |= {room: (now + HELD, answer) for room, answer in found.items() if not answer.partial}
        self._held = held if sum(len(answer.users) for _, answer in held.values()) <= MAX_HELD else {}
        return found
