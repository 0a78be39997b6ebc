"""Typing and presence in rooms. Both are volatile: a client that reads too slowly misses them, and no log has them."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import msgspec

from parley.chat.domain.fields import RoomId
from parley.chat.queries.visibility import key_of
from parley.chat.signals.present_members import PresentMembers
from parley.chat.signals.room_places import RoomPlaces
from parley.common.rate_limiter import RateLimiter
from parley.framework import Code, Context, Emitter, Identity, Presence, PresenceChoice, Reject, RoomPublisher

TYPING_SECONDS = 2.0
"""Seconds between two signals of one user in one room that are passed on."""
CHOICES_PER_SECOND, CHOICES_BURST = 1.0, 10
"""How often a user may choose a presence, or say that a device is idle."""
JOIN_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds to wait for a gateway to hear of a join that is in the log, each time it has not."""

# A little more than one, so that a bucket that is full never lacks a fraction by rounding.
_ONE = 1.001


class Typing(msgspec.Struct, frozen=True):
    """`typing`: the sender is writing in a room, or in a thread of it, which its first message's sequence names."""

    room: RoomId
    thread: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None


class TypingSignal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user is writing. It holds for 6 seconds, or until a message of the user in the same place."""

    room: str
    user: str
    thread: int | None = None


class LookAtRoom(msgspec.Struct, frozen=True):
    """`presence`: who is in a room, and what changes from then on; with `stop`, nothing more."""

    room: RoomId
    stop: bool = False


class OwnPresence(msgspec.Struct, frozen=True):
    """`presence.set`: what the sender is shown as, by hand, and whether somebody is using this device."""

    state: PresenceChoice | None = None
    idle: bool | None = None


class RoomSignals:
    """What clients say and ask of who is in a room. Who is a member is read, since nothing here is decided by a log."""

    def __init__(self, rooms: RoomPublisher, everybody: Emitter, places: RoomPlaces) -> None:
        self.typing_rates = RateLimiter(1 / TYPING_SECONDS, _ONE)
        """By user and room. The service sweeps it, and the next."""
        self.choice_rates = RateLimiter(CHOICES_PER_SECOND, CHOICES_BURST)
        """By user."""
        self.present = PresentMembers(everybody, places)
        self._rooms = rooms
        self._places = places

    async def close(self) -> None:
        """Look nothing up any more."""
        await self.present.close()
        await self._places.close()

    async def type(self, identity: Identity, sid: str, typing: Typing) -> None:
        """Tell a room's other connections that a member types. More often than every two seconds, it is not passed on.

        Raises `Reject`: `not_found`, `not_a_member`, `room_archived`, and `muted` or `forbidden` for who may not write.
        """
        if not self.typing_rates.take((identity.user_id, key_of(typing.room)), time.monotonic()):
            return
        place = await self._places.of_member(typing.room, identity.user_id)
        if place.archived:
            raise Reject(Code.ROOM_ARCHIVED)
        if place.silenced is not None:
            # What could not be sent is not announced either.
            raise Reject(place.silenced)
        signal = TypingSignal(typing.room, identity.user_id, typing.thread)
        await self._rooms.emit(typing.room, "typing", signal, except_sid=sid, volatile=True)

    async def look(self, context: Context, look: LookAtRoom) -> Presence | None:
        """Begin to show a member who is in a room, or stop. Raises `Reject`, as `Context.presence` does."""
        if look.stop:
            await context.stop_presence(look.room)
            return None
        try:
            return await context.presence(look.room)
        except Reject as rejection:
            if rejection.code is not Code.NOT_A_MEMBER:
                raise
        # The gateway tells by what it has heard of the log, which may be a moment less than what was committed.
        for pause in JOIN_PAUSES:
            await self._places.of_member(look.room, context.identity.user_id)
            await asyncio.sleep(pause)
            try:
                return await context.presence(look.room)
            except Reject as rejection:
                if rejection.code is not Code.NOT_A_MEMBER:
                    raise
        raise Reject(Code.UNAVAILABLE)

    async def choose(self, context: Context, own: OwnPresence) -> None:
        """Set what a user is shown as, or that a device is idle. Raises `Reject(rate_limited)`."""
        self._count_choice(context.identity)
        if own.state is not None:
            await context.set_presence(own.state)
        if own.idle is not None:
            await context.set_idle(own.idle)

    async def choose_elsewhere(self, identity: Identity, own: OwnPresence) -> None:
        """Set what a user is shown as who says so without a connection. Raises `Reject`, as `PresentMembers.choose`."""
        if own.state is None or own.idle is not None:
            raise Reject(Code.INVALID_PAYLOAD, "Without a connection presence.set takes a state, and nothing else.")
        self._count_choice(identity)
        await self.present.choose(identity, own.state)

    def _count_choice(self, identity: Identity) -> None:
        if not self.choice_rates.take(identity.user_id, time.monotonic()):
            raise Reject(Code.RATE_LIMITED)
