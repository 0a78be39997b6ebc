"""An event with its place in the log."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, cast
from uuid import UUID

import msgspec

from parley.chat.domain.encoding.event_codec import CODEC
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.events import ClientEvent, NamedUser
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.room import ChatEvent, changed_member
from parley.common.wire.rooms import RoomEvent

_MAY_WAIT = frozenset(("reaction.added", "reaction.removed"))
"""The types of events of which a gateway may gather many before it delivers them."""
NOTHING = b"{}"
"""The data of an erased event of which nothing is kept."""


class Recorded(NamedTuple):
    """One row of the log. `data` is the event's JSON in the current version.

    `number` is the message's number; an event that is no message has that of the message before it. `command_id` and
    `fingerprint` recognise a resent command. An `erased` event has neither of them and no actor; its `data` is what the
    room still needs of it (`domain/erasure.py`), and clients are sent no more of that than numbers of messages. Of a
    message that was deleted, and not erased, the actor stays known.
    """

    room_id: int
    sequence: int
    number: int
    event_id: UUID
    type: str
    actor_id: str
    actor_name: str
    command_id: str
    fingerprint: int
    data: bytes
    recorded_at: datetime
    erased: bool = False

    @property
    def room(self) -> str:
        """The id under which clients know the room."""
        return public_room_id(self.room_id)

    def client_event(self) -> ClientEvent[msgspec.Raw]:
        """Return the event as members receive it."""
        actor = NamedUser(self.actor_id, self.actor_name or None)
        return ClientEvent(
            self.type, self.room, self.sequence, self.event_id, self.recorded_at, actor,
            msgspec.Raw(self.data if self._is_shown() else NOTHING), self.command_id,
            self.number if self.type == MessageSent.TYPE else None, self.erased,
        )  # fmt: skip

    def room_event(self) -> RoomEvent:
        """Return the event as gateways receive it, with the user who becomes a member by it or stops being one."""
        joined, left = self.joined_and_left()
        payload = msgspec.json.encode(self.client_event())
        may_wait = self.type in _MAY_WAIT
        return RoomEvent(self.type, payload, self.sequence, joined_user=joined, left_user=left, may_wait=may_wait)

    def joined_and_left(self) -> tuple[str, str]:
        """Return the user who becomes a member with this event, and the one who stops being one.

        '' stands for nobody.
        """
        change = CODEC.kind(self.type).MEMBERSHIP
        if change not in {"joins", "leaves"} or self.data == NOTHING:
            return "", ""
        user_id = changed_member(self.event(), self.actor_id) or ""
        return (user_id, "") if change == "joins" else ("", user_id)

    @property
    def applies(self) -> bool:
        """Whether the event is applied to its room: it is not erased, or what is left still says what it changed."""
        if not self.erased:
            return True
        applied = CODEC.kind(self.type).WHEN_ERASED.applied
        return applied == "always" or (applied == "if kept" and self.data != NOTHING)

    def _is_shown(self) -> bool:
        # Of an erased event clients are sent numbers of messages alone.
        return not self.erased or CODEC.kind(self.type).WHEN_ERASED.about_message

    def event(self) -> ChatEvent:
        """Return the typed event, from which a room's state is built."""
        return cast("ChatEvent", CODEC.read(self.type, self.data))
