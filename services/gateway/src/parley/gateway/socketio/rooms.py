"""python-socketio's client manager, with indexes in both directions.

Its own looks through every room of the namespace, of which each client is one, whenever a client disconnects. Here a
disconnect costs the client's own rooms, a client's own room costs nothing, and an emit is one packet for all.
"""
# ruff: noqa: ARG002 - the signatures are the library's
# pyright: reportIncompatibleMethodOverride=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import socketio

from parley.gateway.engineio.packets import Packet
from parley.gateway.engineio.server import Engine

Room = str | None


class Rooms(socketio.AsyncManager):
    """Who is connected to which namespace, and in which rooms; a client is always in the room of its own sid."""

    # The library's own attributes, whose types it does not declare.
    server: Any
    rooms: dict[str, Any]
    callbacks: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self._sids: dict[str, dict[str, str]] = {}
        """Per namespace, the sid by Engine.IO sid."""
        self._connecting: set[str] = set()
        self._disconnecting: set[str] = set()
        self._transports: dict[str, str] = {}
        self._joined: dict[str, set[str]] = {}
        self._members: dict[tuple[str, str], set[str]] = {}

    # -- who is connected ------------------------------------------------------------------------------------------

    def get_namespaces(self) -> Iterable[str]:
        """Namespaces that anybody is connected to."""
        return list(self._sids)

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Register a client that is not admitted yet. None when its transport is connected to the namespace already."""
        return self.reserve(eio_sid, namespace, self.server.eio.generate_id())

    def reserve(self, eio_sid: str, namespace: str, sid: str) -> str | None:
        """Register a client under a given sid. None when its transport is connected to the namespace already."""
        sids = self._sids.setdefault(namespace, {})
        if eio_sid in sids:
            return None
        sids[eio_sid] = sid
        self._transports[sid] = eio_sid
        self._connecting.add(sid)
        return sid

    async def connect(self, sid: str, namespace: str) -> str:
        """The client is admitted."""
        self._connecting.discard(sid)
        return sid

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        """Whether the client is registered and not admitted yet."""
        return sid in self._connecting

    def is_connected(self, sid: str | None, namespace: str) -> bool:
        """Whether the client is admitted and not about to go."""
        return sid in self._transports and sid not in self._connecting and sid not in self._disconnecting

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """The client of a transport in a namespace."""
        return self._sids.get(namespace, {}).get(eio_sid)

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """The transport of a client."""
        return self._transports.get(sid)

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """The client is about to go, but its handlers may still ask about it."""
        self._disconnecting.add(sid)
        return self._transports.get(sid)

    def basic_disconnect(self, sid: str, namespace: str, **_options: Any) -> None:
        """Forget a client; twice is harmless."""
        for room in list(self._joined.get(sid, ())):
            self.basic_leave_room(sid, namespace, room)
        eio_sid = self._transports.pop(sid, None)
        if eio_sid is not None and (sids := self._sids.get(namespace)) is not None:
            sids.pop(eio_sid, None)
            if not sids:
                del self._sids[namespace]
        self._connecting.discard(sid)
        self._disconnecting.discard(sid)
        self.callbacks.pop(sid, None)

    # -- rooms -----------------------------------------------------------------------------------------------------

    def basic_enter_room(self, sid: str, namespace: str, room: Room, eio_sid: str | None = None) -> None:
        """Put a client into a room. Raises `ValueError` when it is not connected, or the room is another's own."""
        if sid not in self._transports:
            raise ValueError("sid is not connected to requested namespace")
        if room is None or room == sid:
            return
        if room in self._transports:
            raise ValueError("cannot enter a sid room")
        self._joined.setdefault(sid, set()).add(room)
        self._members.setdefault((namespace, room), set()).add(sid)

    def basic_leave_room(self, sid: str, namespace: str, room: Room) -> None:
        """Take a client out of a room."""
        if room is None or room not in self._joined.get(sid, ()):
            return
        joined = self._joined[sid]
        joined.discard(room)
        if not joined:
            del self._joined[sid]
        members = self._members[namespace, room]
        members.discard(sid)
        if not members:
            del self._members[namespace, room]

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        """The rooms a client is in."""
        return [sid, *self._joined.get(sid, ())] if sid in self._transports else []

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """`(sid, eio_sid)` of the clients in a room, in any of several rooms, or with None in the namespace."""
        rooms: Iterable[Room] = room if isinstance(room, list | tuple) else [room]
        found: set[str] = set()
        for name in rooms:
            if name is None:
                found.update(self._sids.get(namespace, {}).values())
            elif name in self._transports:
                found.add(name)
            else:
                found.update(self._members.get((namespace, name), ()))
        for sid in found:
            if sid not in self._connecting:
                yield sid, self._transports[sid]

    async def emit(
        self, event: str, data: Any, namespace: str, room: Any = None, skip_sid: Any = None,
        callback: Any = None, to: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        """Send an event to a client, a room, several rooms or a whole namespace."""
        skipped = set(skip_sid if isinstance(skip_sid, list) else [skip_sid])
        arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        receivers = [pair for pair in self.get_participants(namespace, to or room) if pair[0] not in skipped]
        engine: Engine = self.server.eio
        if callback is None:
            sessions = [engine.sessions[eio_sid] for _, eio_sid in receivers if eio_sid in engine.sessions]
            engine.broadcast(sessions, self._packet(namespace, [event, *arguments], None))
            return
        for sid, eio_sid in receivers:
            if (session := engine.sessions.get(eio_sid)) is not None:
                ack_id = self._generate_ack_id(sid, callback)
                session.send(self._packet(namespace, [event, *arguments], ack_id))

    def _packet(self, namespace: str, data: list[Any], ack_id: int | None) -> Packet:
        encoded: Any = self.server.packet_class(2, namespace=namespace, data=data, id=ack_id).encode()
        text, *attachments = encoded if isinstance(encoded, list) else [encoded]
        return Packet.of(b"4" + text.encode(), tuple(attachments))
