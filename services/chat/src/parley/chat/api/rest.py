"""The same commands and queries over HTTP, under `/api`, for servers and bots."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AwareDatetime

from parley.chat.api import audited
from parley.chat.api.commands import COMMANDS, CommandRoute, ack
from parley.chat.api.typed_requests import PATH_NUMBER, PayloadFields
from parley.chat.delivery.publisher import NAMESPACE
from parley.chat.domain.messages.reactions import MAX_EMOJI
from parley.chat.log.database import reachable
from parley.chat.previews import link_previews
from parley.chat.previews.link_previews import AskPreview
from parley.chat.queries import history, members, pinned, reactors, rooms, sync
from parley.chat.search import finder
from parley.chat.state import ChatState
from parley.common.http.api import bearer_token, correlation_id
from parley.common.http.bodies import body_of, described, read_body
from parley.common.http.json_input import fields_as
from parley.common.wire import subjects
from parley.common.wire.commands import ok_payload
from parley.common.wire.identifiers import uuid7
from parley.common.wire.identity import Authenticate, area_of
from parley.framework import Code, Identity, Reject

AREA = area_of(NAMESPACE)
"""What scopes call chat, over HTTP as over the socket."""


def _state(request: Request) -> ChatState:
    return request.app.state.services


Chat = Annotated[ChatState, Depends(_state)]


async def _identified(request: Request, chat: Chat) -> Identity:
    """Return who is asking. Raises `Reject` if auth refuses the token, or if the user asks too often."""
    address = request.client.host if request.client else ""
    claim = Authenticate(bearer_token(request), address=address)
    # `repeat`: whether a token is valid may be asked twice, so a lost answer costs a moment and no error.
    identity = await chat.bus.request(subjects.AUTHENTICATE, claim, Identity, repeat=True)
    if not chat.request_rates.take(identity.user_id, time.monotonic()):
        raise Reject(Code.RATE_LIMITED)
    return identity


def permitted(identity: Identity, *, writes: bool, own: bool = False) -> Identity:
    """Return who asks, if they may read here, or write, or change what is theirs alone. Raises `Reject`."""
    refusal = identity.refusal(AREA, writes=writes, own=own)
    if refusal is not None:
        raise refusal
    return identity


async def _reader(identity: Annotated[Identity, Depends(_identified)]) -> Identity:
    """Who asks, if they may read here. Raises `Reject`."""
    return permitted(identity, writes=False)


Caller = Annotated[Identity, Depends(_identified)]
Reader = Annotated[Identity, Depends(_reader)]

router = APIRouter(prefix="/api", tags=["chat"])


def _endpoint(row: CommandRoute, known: PayloadFields) -> Callable[..., Awaitable[Response]]:
    async def run(request: Request, chat: Chat, identity: Caller) -> Response:
        permitted(identity, writes=row.writes)
        fields = await read_body(request)
        if fields.get("id") is None:
            # A caller without an id of its own gives up resending: each request is another command then.
            fields["id"] = str(uuid7())
        fields |= known.of_path(request)
        command = fields_as(fields, row.command)
        await audited.record(chat, command, identity, correlation_id(request))
        accepted = await chat.writer.submit(command, identity, correlation_id(request))
        return json_answer(ack(identity, accepted))

    run.__name__ = row.command.NAME.replace(".", "_")
    run.__doc__ = row.summary
    return run


def _add(row: CommandRoute, path: str) -> None:
    known = PayloadFields(row.command, "POST", path)
    extra = known.openapi(optional="id")
    router.add_api_route(known.typed_path, _endpoint(row, known), methods=["POST"], openapi_extra=extra)


for route in COMMANDS:
    _add(route, route.path)
    if route.also:
        _add(route, route.also)


@router.get("/rooms")
async def list_rooms(
    chat: Chat,
    identity: Reader,
    search: Annotated[str, Query(max_length=100)] = "",
    before: Annotated[str, Query(max_length=64, description="id of the last room of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=rooms.MAX_PAGE)] = 100,
) -> Response:
    """Public rooms and the rooms one is in or invited to, newest first."""
    found, more = await _read(rooms.page(chat.reads, identity, _text(search), _text(before), limit))
    return json_answer({"rooms": found, "more": more})


@router.get("/rooms/{room}")
async def get_room(room: str, chat: Chat, identity: Reader) -> Response:
    """One room."""
    return json_answer({"room": await _read(rooms.one(chat.reads, room, identity))})


@router.get("/rooms/{room}/members")
async def list_members(
    room: str,
    chat: Chat,
    identity: Reader,
    after: Annotated[str, Query(max_length=128, description="user id of the last member of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """A room's members."""
    found, more = await _read(members.page(chat.reads, room, identity, _text(after), limit))
    shown = [{"id": m.user_id, "name": m.name, "state": m.state, "role": m.role} for m in found]
    return json_answer({"members": shown, "more": more})


@router.get("/rooms/{room}/messages")
async def list_messages(
    room: str,
    chat: Chat,
    identity: Reader,
    # Browsers parse JSON numbers into doubles, which are exact up to here.
    before: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
    after: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=history.MAX_PAGE)] = 50,
    around: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
    at: Annotated[AwareDatetime | None, Query(description="a moment with its time zone")] = None,
    thread: Annotated[int | None, Query(ge=1, lt=2**53, description="only the replies to this message")] = None,
    raw: Annotated[bool, Query(description="the log itself, every event as it was appended")] = False,
) -> Response:
    """A page of a room's messages as they are now, oldest first."""
    query = history.History(room, before, after, limit, around, at, thread, raw)
    return json_answer(await _read(history.page(chat.reads, query, identity)))


@router.get("/rooms/{room}/pins")
async def list_pins(room: str, chat: Chat, identity: Reader) -> Response:
    """The pinned messages of a room, as they are now."""
    return json_answer(await _read(pinned.page(chat.reads, pinned.Pins(room), identity)))


@router.get(f"/rooms/{{room}}/messages/{{message:{PATH_NUMBER}}}/reactions")
async def list_reactions(
    room: str,
    message: Annotated[int, Path(ge=1, lt=2**53)],
    chat: Chat,
    identity: Reader,
    emoji: Annotated[str | None, Query(min_length=1, max_length=MAX_EMOJI)] = None,
    after: Annotated[str, Query(max_length=96, description="the `next` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=reactors.MAX_REACTORS)] = 50,
) -> Response:
    """Everybody who reacted to a message, sorted by emoji."""
    kind = None if emoji is None else _text(emoji)
    query = reactors.Reactions(room, message, kind, _text(after), limit)
    return json_answer(await _read(reactors.page(chat.reads, query, identity)))


@router.post("/sync", openapi_extra=described(sync.Sync))
async def read_missed(chat: Chat, identity: Reader, query: Annotated[sync.Sync, body_of(sync.Sync)]) -> Response:
    """What was missed since the cursors, per room."""
    return json_answer(await _read(sync.missed(chat.reads, query, identity)))


@router.get("/search")
async def search_messages(
    chat: Chat,
    identity: Reader,
    query: Annotated[str, Query(max_length=2_000, description="words, phrases in quotes, and filters")],
    after: Annotated[str, Query(max_length=80, description="the `next` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=finder.MAX_PAGE)] = 20,
) -> Response:
    """Messages that one may read, by what is in them, newest first."""
    return json_answer(await _read(chat.finder.page(finder.Search(_text(query), after, limit), identity)))


@router.post("/previews", openapi_extra=described(AskPreview))
async def preview_link(chat: Chat, identity: Reader, asked: Annotated[AskPreview, body_of(AskPreview)]) -> Response:
    """What the first link in a text leads to."""
    previews = link_previews.previews_of(chat.previews)
    return json_answer(await _read(previews.preview(identity.user_id, asked.text)))


async def _read(reading: Any) -> Any:
    with reachable():
        return await reading


def _text(given: str) -> str:
    if "\x00" in given:
        raise Reject(Code.INVALID_PAYLOAD, "NUL is not text")
    return given


def json_answer(result: Any) -> Response:
    """Return a result as the answer of an endpoint."""
    return Response(ok_payload(result), media_type="application/json")
