"""Rooms in which everybody knows who is online, and each reaches each other one alone: what a WebRTC call needs."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import msgspec

from p2p import format as messages
from p2p.rooms import Rooms
from parley.framework import Code, ConnectionContext, ConnectionInfo, Context, Emitter, Next, Reject, Router, Service

MAX_CLIENTS = 100
"""Clients of one room: with each that comes, all get the list of all."""

_NAMES = {"room": re.compile(r"[A-Za-z0-9_-]{1,64}"), "userId": re.compile(r"[A-Za-z0-9_.-]{1,64}")}

RoomName = Annotated[str, msgspec.Meta(pattern=rf"^{_NAMES['room'].pattern}$")]


class Exchange(msgspec.Struct):
    """Something for one other client in the room; `target` is its id."""

    target: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    payload: Any = {}


class Chosen(msgspec.Struct):
    """The room that an administrator means."""

    room: RoomName


router: Router[Rooms] = Router("/p2p")
router.sends("online", messages.Online)
router.sends("<the client's own id>", messages.Message)


def _key(room: str) -> str:
    """The room's name among all that there are: a prefix keeps it apart from sids, which are rooms as well."""
    return f"room:{room}"


# -- coming and going --------------------------------------------------------------------------------------------------


async def into_a_room(connection: ConnectionContext[Rooms], call_next: Next) -> None:
    """Let in who names an open room that is not full, and keep which it is."""
    room, user_id = (_said(connection, name) for name in ("room", "userId"))
    if connection.state.is_closed(room):
        raise _deleted()
    if len(await connection.everybody.to(_key(room)).fetch_connections()) >= MAX_CLIENTS:
        raise Reject(Code.LIMIT_EXCEEDED, "The room is full.", data={"field": "room"})
    connection.data.update(room=room, userId=user_id)
    await call_next()


def _said(connection: ConnectionContext[Rooms], field: str) -> str:
    """What a client says in its query or, when namespaces share a transport, in the payload of CONNECT."""
    value = connection.handshake.auth.get(field, connection.handshake.query.get(field))
    if not isinstance(value, str) or not _NAMES[field].fullmatch(value):
        pattern = _NAMES[field].pattern
        raise Reject(Code.INVALID_PAYLOAD, f"{field} must match {pattern}", data={"field": field, "pattern": pattern})
    return value


router.use_connection(into_a_room)


@router.on("connect")
async def connect(context: Context[Rooms], _recovered: bool) -> None:
    """Join the room and tell everybody in it."""
    room = context.data["room"]
    await context.join(_key(room))
    # It may have been closed since; whoever closed it has not seen this client in it then.
    if context.state.is_closed(room):
        await _turn_out(context.everybody, context.sid, context.gateway)
        return
    clients = [member.sid for member in await _members(context, room)]
    await context.everybody.to(_key(room)).emit("online", messages.joined(context.sid, clients))


@router.on("disconnect")
async def disconnect(context: Context[Rooms], _reason: str, _rooms: list[str]) -> None:
    """Tell who is left in the room."""
    room = context.data["room"]
    clients = [member.sid for member in await _members(context, room) if member.sid != context.sid]
    await context.everybody.to(_key(room)).emit("online", messages.left(context.sid, clients))


async def _members(context: Context[Rooms], room: str) -> list[ConnectionInfo]:
    return await context.everybody.to(_key(room)).fetch_connections()


# -- one to one --------------------------------------------------------------------------------------------------------


@router.on("exchange")
async def exchange(context: Context[Rooms], said: Exchange) -> None:
    """Hand something to one other client of the same room, and to nobody else."""
    key = _key(context.data["room"])
    sender, target = await asyncio.gather(context.socket.fetch(), _find(context.everybody, said.target))
    if key not in sender.rooms:
        raise Reject(Code.NOT_A_MEMBER)
    # Who asks is not told whether there is such a client elsewhere.
    if target is None or key not in target.rooms:
        raise Reject(Code.NOT_A_MEMBER, "The target is not in your room.", data={"field": "target"})
    message = messages.message("exchange", said.payload, client=context.sid, target=target.sid)
    await context.everybody.socket(target.sid, target.gateway).emit(target.sid, message)


async def _find(everybody: Emitter, sid: str) -> ConnectionInfo | None:
    """Find a connection on any gateway."""
    try:
        return await everybody.socket(sid).fetch()
    except Reject as rejection:
        if rejection.code is Code.NOT_FOUND:
            return None
        raise


# -- closing rooms -----------------------------------------------------------------------------------------------------


@router.on("room.close")
async def close(context: Context[Rooms], chosen: Chosen) -> dict[str, int]:
    """Turn everybody out of a room, on every gateway, and let nobody in any more. For administrators."""
    _check_admin(context)
    await context.state.change(chosen.room, closed=True)
    members = await _members(context, chosen.room)
    await asyncio.gather(*(_turn_out(context.everybody, member.sid, member.gateway) for member in members))
    return {"clients": len(members)}


@router.on("room.open")
async def open_again(context: Context[Rooms], chosen: Chosen) -> None:
    """Let clients into a room again. For administrators."""
    _check_admin(context)
    await context.state.change(chosen.room, closed=False)


def _check_admin(context: Context[Rooms]) -> None:
    if not context.identity.is_admin:
        raise Reject(Code.FORBIDDEN)


async def _turn_out(everybody: Emitter, sid: str, gateway: str) -> None:
    socket = everybody.socket(sid, gateway)
    await socket.emit(sid, messages.deleted())
    await socket.disconnect(close=True)


def _deleted() -> Reject:
    denied = messages.deleted()
    return Reject(Code.NOT_FOUND, denied.data.payload["message"], data=msgspec.to_builtins(denied))


service = Service("p2p", router, lifespan=Rooms.shared)
