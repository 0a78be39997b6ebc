"""An event with its place in the log."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, cast
from uuid import UUID

import msgspec

from parley.chat.domain.encoding.event_codec import CODEC
from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.events import ClientEvent, NamedUser
from parley.chat.domain.membership import MemberJoined, MemberLeft
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.people.moderation import MemberRemoved
from parley.chat.domain.room import Event
from parley.chat.domain.rooms import RoomCreated
from parley.common.wire.rooms import RoomEvent

_MOVING = frozenset((RoomCreated.TYPE, MemberJoined.TYPE, MemberLeft.TYPE, MemberRemoved.TYPE))
"""The types of events that change who is a member. The data of other types need not be decoded to tell."""


_MAY_WAIT = frozenset(("reaction.added", "reaction.removed"))
"""The types of events of which a gateway may gather many before it delivers them."""
_SHOWN_ERASED = frozenset(("message.sent", "message.deleted", "message.pinned", "message.unpinned"))
"""The types of events of which clients are sent what is left: numbers of messages, and nobody's text."""
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
            msgspec.Raw(NOTHING if self.erased and self.type not in _SHOWN_ERASED else self.data), self.command_id,
            self.number if self.type == MessageSent.TYPE else None, self.erased,
        )  # fmt: skip

    def item(self) -> RoomEvent:
        """Return the event as gateways receive it, with the user who becomes a member by it or stops being one."""
        joins, leaves = self.moves()
        payload = msgspec.json.encode(self.client_event())
        may_wait = self.type in _MAY_WAIT
        return RoomEvent(self.type, payload, self.sequence, joined_user=joins, left_user=leaves, may_wait=may_wait)

    def moves(self) -> tuple[str, str]:
        """Return the user who becomes a member with this event, and the one who stops being one.

        '' stands for nobody.
        """
        if self.type not in _MOVING or self.data == NOTHING:
            return "", ""
        match self.event():
            case RoomCreated():
                return self.actor_id, ""
            case MemberJoined(user=user):
                return user.id, ""
            case MemberLeft(user=user) | MemberRemoved(user=user):
                return "", user.id
            case _:
                return "", ""

    def event(self) -> Event:
        """Return the typed event, from which a room's state is built."""
        return cast("Event", CODEC.read(self.type, self.data))
