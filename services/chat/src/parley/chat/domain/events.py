"""The events of a room: facts, in the past tense, as they are stored and as clients see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Generic, TypeVar
from uuid import UUID

import msgspec

from parley.chat.domain.commands import Kind
from parley.common.wire.rooms import RoomEvent

DataT = TypeVar("DataT")
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment, with its zone; documents then say that it is one."""


class User(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user named in an event: as they were called then, whatever today's limits are."""

    id: str
    name: str | None = None


class EventData(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one type of event holds; `TYPE` is its name in the log and on the wire."""

    TYPE: ClassVar[str]


class RoomCreated(EventData, frozen=True):
    """A room exists, and its maker is its owner and first member."""

    TYPE = "room.created"
    name: str
    kind: Kind


class MemberInvited(EventData, frozen=True):
    """A user may see and join the room."""

    TYPE = "member.invited"
    user: User


class MemberJoined(EventData, frozen=True):
    """A user is a member from here on."""

    TYPE = "member.joined"
    user: User


class MemberLeft(EventData, frozen=True):
    """A user is no member any more."""

    TYPE = "member.left"
    user: User


class MessageSent(EventData, frozen=True):
    """A member said something."""

    TYPE = "message.sent"
    body: str
    reply_to: int | None = None


class RoomArchived(EventData, frozen=True):
    """The room takes no more changes."""

    TYPE = "room.archived"
    reason: str = ""


Event = RoomCreated | MemberInvited | MemberJoined | MemberLeft | MessageSent | RoomArchived
EVENT_TYPES: dict[str, type[Event]] = {
    kind.TYPE: kind for kind in (RoomCreated, MemberInvited, MemberJoined, MemberLeft, MessageSent, RoomArchived)
}

_MOVING = frozenset((RoomCreated.TYPE, MemberJoined.TYPE, MemberLeft.TYPE))
"""Types of events that change who is a member; of the others, the data need not be decoded to tell."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of the log. `data` is the event's JSON; `command_id` and `fingerprint` recognise a resent command."""

    room_id: str
    sequence: int
    event_id: UUID
    type: str
    actor_id: str
    actor_name: str
    command_id: str
    fingerprint: str
    correlation: str
    data: bytes
    recorded_at: datetime

    def client_event(self) -> ClientEvent[msgspec.Raw]:
        """The event as members receive it."""
        actor = User(self.actor_id, self.actor_name)
        return ClientEvent(
            self.type, self.room_id, self.sequence, self.event_id, self.recorded_at, actor, msgspec.Raw(self.data)
        )

    def item(self) -> RoomEvent:
        """The event as it travels to gateways, with the user whom it makes a member or ends as one."""
        joins, leaves = self.moves()
        payload = msgspec.json.encode(self.client_event())
        return RoomEvent(self.type, payload, self.sequence, joins=joins, leaves=leaves)

    def moves(self) -> tuple[str, str]:
        """The user who becomes a member with this event, and the one who is none after it; or nobody."""
        if self.type not in _MOVING:
            return "", ""
        match self.event():
            case RoomCreated():
                return self.actor_id, ""
            case MemberJoined(user=user):
                return user.id, ""
            case MemberLeft(user=user):
                return "", user.id
            case _:
                return "", ""

    def event(self) -> Event:
        """The typed event, for rebuilding state."""
        return msgspec.json.decode(self.data, type=EVENT_TYPES[self.type])


class ClientEvent(msgspec.Struct, Generic[DataT], frozen=True):
    """`{type, room, sequence, event_id, at, actor: {id, name}, data}`."""

    type: str
    room: str
    sequence: int
    event_id: UUID
    at: Instant
    actor: User
    data: DataT
