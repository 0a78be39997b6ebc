"""python-socketio's client manager, with faster ways to send to a room and to leave all rooms.

python-socketio's `emit` makes a task for every receiver, and its `disconnect` searches every room. Here a packet is
encoded once and handed to the engine with all its receivers, and each connection has a list of its rooms. Under a
server with another engine, as `AsyncNatsManager` may be, it does what it inherits.
"""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import socketio
import socketio.packet

from parley.engineio.python_socketio.engine_server import EngineServer, engine_packet

Connection = tuple[str, str]
"""A namespace and a sid in it."""


class BroadcastManager(socketio.AsyncManager):
    """The connections and rooms of one server. `AsyncServer` uses it unless it is given another client manager."""

    server: Any

    def __init__(self) -> None:
        super().__init__()
        self._rooms_of: dict[Connection, set[Any]] = {}

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **options: Any,
    ) -> None:
        """Emit to a connection, a room, several rooms, or all connections of the namespace."""
        eio = getattr(self.server, "eio", None)
        if callback or not isinstance(eio, EngineServer):
            await super().emit(event, data, namespace, room=to or room, skip_sid=skip_sid, callback=callback, **options)
            return
        skipped = set(skip_sid) if isinstance(skip_sid, list) else {skip_sid}
        receivers = [link for sid, link in self.get_participants(namespace, to or room) if sid not in skipped]
        if not receivers:
            return
        arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        packet = self.server.packet_class(socketio.packet.EVENT, namespace=namespace, data=[event, *arguments])
        eio.broadcast(receivers, engine_packet(packet.encode()))

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        """Put a connection into a room, and the room into its list."""
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        self._rooms_of.setdefault((namespace, sid), set()).add(room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Take a connection out of a room, and the room out of its list."""
        super().basic_leave_room(sid, namespace, room)
        if (rooms := self._rooms_of.get((namespace, sid))) is not None:
            rooms.discard(room)
            if not rooms:
                del self._rooms_of[namespace, sid]

    def basic_disconnect(self, sid: str, namespace: str, **_options: Any) -> None:
        """Take a connection out of all its rooms and remove it."""
        for room in tuple(self._rooms_of.get((namespace, sid), ())):
            self.basic_leave_room(sid, namespace, room)
        self.callbacks.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            if sid in pending.get(namespace, ()):
                pending[namespace].remove(sid)
                if not pending[namespace]:
                    del pending[namespace]

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        """Return the rooms that a connection is in."""
        # python-socketio keeps all connections of a namespace in a room None.
        return [room for room in self._rooms_of.get((namespace, sid), ()) if room is not None]
