"""The commands chat accepts, as clients send them. Each carries a client-made `id`, by which a resend is recognised."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from parley.common.errors import Code, Reject

# Printable ASCII, so that ids are safe in logs, keys and URLs.
CommandId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]
RoomId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Kind = Literal["public", "private"]


class UserRef(msgspec.Struct, frozen=True):
    """A user named in a command."""

    id: UserId
    name: Name | None = None


class CreateRoom(msgspec.Struct, frozen=True):
    """Make a room. Its id is derived from its maker and the command's id, so that making it twice makes one."""

    id: CommandId
    name: Name
    kind: Kind = "public"


class JoinRoom(msgspec.Struct, frozen=True):
    """`room.join`: a public room, or a private one one was invited to."""

    id: CommandId
    room: RoomId


class LeaveRoom(msgspec.Struct, frozen=True):
    """`room.leave`: also declines an invitation."""

    id: CommandId
    room: RoomId


class InviteUser(msgspec.Struct, frozen=True):
    """`room.invite`: lets a user see and join a room."""

    id: CommandId
    room: RoomId
    user: UserRef


class ArchiveRoom(msgspec.Struct, frozen=True):
    """`room.archive`: by its owner or an administrator; the room stays readable and takes no more changes."""

    id: CommandId
    room: RoomId
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class SendMessage(msgspec.Struct, frozen=True):
    """`message.send`: `body` is text; `reply_to` the sequence of the message it answers."""

    id: CommandId
    room: RoomId
    body: Annotated[str, msgspec.Meta(min_length=1)]
    reply_to: Annotated[int, msgspec.Meta(ge=1)] | None = None


RoomCommand = CreateRoom | JoinRoom | LeaveRoom | InviteUser | ArchiveRoom | SendMessage


def validate(command: RoomCommand, max_body: int) -> None:
    """Check what types cannot say. Raises `Reject`."""
    match command:
        case SendMessage(body=body):
            if len(body) > max_body or len(_stored(body)) > max_body:
                raise Reject(Code.PAYLOAD_TOO_LARGE, f"A message is at most {max_body} bytes of text.")
        case CreateRoom(name=name):
            _stored(name)
        case InviteUser(user=user):
            _stored(user.id + (user.name or ""))
        case ArchiveRoom(reason=reason):
            _stored(reason)
        case JoinRoom() | LeaveRoom():
            pass


def _stored(text: str) -> bytes:
    """The text in UTF-8. Postgres stores neither NUL nor half of a surrogate pair, and no person has typed them."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = b"\x00"
    if b"\x00" in encoded:
        raise Reject(Code.INVALID_PAYLOAD, "Text may not hold NUL or half of a surrogate pair.")
    return encoded
