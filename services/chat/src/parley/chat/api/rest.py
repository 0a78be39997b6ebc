"""The same commands and queries over HTTP, under `/api`, for servers and bots."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from parley.chat.api.socket import ack
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.room import RoomCommand
from parley.chat.domain.rooms import ArchiveRoom, CreateRoom
from parley.chat.log.database import reachable
from parley.chat.queries.queries import MAX_PAGE, History, Sync
from parley.chat.state import State
from parley.common import subjects
from parley.common.http import bearer_token, correlation_id
from parley.common.identifiers import uuid7
from parley.common.wire.commands import ok_payload
from parley.common.wire.identity import Authenticate
from parley.framework import Code, Identity, Reject

CommandId = Annotated[
    str | None,
    Field(min_length=1, max_length=64, description="makes a retry safe: the same id never has a second effect"),
]


class CreateRoomBody(BaseModel):
    """A new room."""

    id: CommandId = None
    name: str = Field(min_length=1, max_length=100)
    kind: Literal["public", "private"] = "public"


class CommandBody(BaseModel):
    """A command with nothing but an id."""

    id: CommandId = None


class UserBody(BaseModel):
    """A user, by id; the name is shown until they join."""

    id: str = Field(min_length=1, max_length=128)
    name: str | None = Field(default=None, min_length=1, max_length=100)


class InviteBody(CommandBody):
    """Whom to invite."""

    user: UserBody


class ArchiveBody(CommandBody):
    """Why the room is closed."""

    reason: str = Field(default="", max_length=500)


class MessageBody(CommandBody):
    """A message to a room."""

    body: str = Field(min_length=1)
    reply_to: int | None = Field(default=None, ge=1)


class SyncBody(BaseModel):
    """The last sequence the caller has, per room."""

    cursors: dict[str, int]


def _state(request: Request) -> State:
    return request.app.state.services


Chat = Annotated[State, Depends(_state)]


async def _identified(request: Request, chat: Chat) -> Identity:
    return await chat.bus.request(subjects.AUTHENTICATE, Authenticate(bearer_token(request)), Identity)


Caller = Annotated[Identity, Depends(_identified)]

router = APIRouter(prefix="/api", tags=["chat"])


async def _run(request: Request, chat: State, identity: Identity, command: RoomCommand) -> Response:
    accepted = await chat.writer.submit(command, identity, correlation_id(request))
    return _json(ack(accepted, identity))


@router.post("/rooms")
async def create_room(body: CreateRoomBody, request: Request, chat: Chat, identity: Caller) -> Response:
    """Create a room."""
    return await _run(request, chat, identity, CreateRoom(_id(body.id), body.name, body.kind))


@router.get("/rooms")
async def list_rooms(
    chat: Chat,
    identity: Caller,
    search: Annotated[str, Query(max_length=100)] = "",
    before: Annotated[str, Query(max_length=64, description="id of the last room of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Public rooms and those one is in or invited to, newest first."""
    rooms, more = await _read(chat.queries.rooms(identity, _text(search), _text(before), limit))
    return _json({"rooms": rooms, "more": more})


@router.get("/rooms/{room}")
async def get_room(room: str, chat: Chat, identity: Caller) -> Response:
    """One room."""
    return _json({"room": await _read(chat.queries.room(_text(room), identity))})


@router.get("/rooms/{room}/members")
async def list_members(
    room: str,
    chat: Chat,
    identity: Caller,
    after: Annotated[str, Query(max_length=128, description="user id of the last member of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """A room's members."""
    found, more = await _read(chat.queries.members(_text(room), identity, _text(after), limit))
    members = [{"id": m.user_id, "name": m.name, "state": m.state, "role": m.role} for m in found]
    return _json({"members": members, "more": more})


@router.post("/rooms/{room}/join")
async def join_room(
    room: str, request: Request, chat: Chat, identity: Caller, body: CommandBody | None = None
) -> Response:
    """Join a room."""
    return await _run(request, chat, identity, JoinRoom(_id(body and body.id), _text(room)))


@router.post("/rooms/{room}/leave")
async def leave_room(
    room: str, request: Request, chat: Chat, identity: Caller, body: CommandBody | None = None
) -> Response:
    """Leave a room, or decline an invitation."""
    return await _run(request, chat, identity, LeaveRoom(_id(body and body.id), _text(room)))


@router.post("/rooms/{room}/invite")
async def invite_user(room: str, body: InviteBody, request: Request, chat: Chat, identity: Caller) -> Response:
    """Let a user see and join a room."""
    user = UserRef(body.user.id, body.user.name)
    return await _run(request, chat, identity, InviteUser(_id(body.id), _text(room), user))


@router.post("/rooms/{room}/archive")
async def archive_room(
    room: str, request: Request, chat: Chat, identity: Caller, body: ArchiveBody | None = None
) -> Response:
    """Close a room; its owner may."""
    body = body or ArchiveBody()
    return await _run(request, chat, identity, ArchiveRoom(_id(body.id), _text(room), body.reason))


@router.post("/rooms/{room}/messages")
async def send_message(room: str, body: MessageBody, request: Request, chat: Chat, identity: Caller) -> Response:
    """Send a message."""
    command = SendMessage(_id(body.id), _text(room), body.body, body.reply_to)
    return await _run(request, chat, identity, command)


@router.get("/rooms/{room}/messages")
async def list_messages(
    room: str,
    chat: Chat,
    identity: Caller,
    before: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
    after: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """A page of a room's events, oldest first."""
    return _json(await _read(chat.queries.history(History(_text(room), before, after, limit), identity)))


@router.post("/sync")
async def sync(body: SyncBody, chat: Chat, identity: Caller) -> Response:
    """What was missed since the cursors, per room."""
    try:
        query = msgspec.convert({"cursors": body.cursors}, Sync)
    except msgspec.ValidationError as error:
        raise Reject(Code.INVALID_PAYLOAD, str(error)) from error
    return _json({"rooms": await _read(chat.queries.sync(query, identity))})


async def _read(reading: Any) -> Any:
    with reachable():
        return await reading


def _id(given: str | None) -> str:
    if given is None:
        return str(uuid7())
    if not (given.isascii() and given.isprintable() and " " not in given):
        raise Reject(Code.INVALID_PAYLOAD, "id: printable ASCII without spaces")
    return given


def _text(given: str) -> str:
    if "\x00" in given:
        raise Reject(Code.INVALID_PAYLOAD, "NUL is not text")
    return given


def _json(result: Any) -> Response:
    return Response(ok_payload(result), media_type="application/json")
