"""The context of connection middleware: a connection that asks to be admitted and, after `call_next`, is gone."""

from __future__ import annotations

from typing import Any, Generic

from parley.common.wire import subjects
from parley.common.wire.binary import extract
from parley.common.wire.connections import ConnectionClosed, ConnectRequest
from parley.common.wire.rooms import UnloggedEvent
from parley.framework.remote.emitter import Emitter
from parley.framework.routing.connection_data import ConnectionData
from parley.framework.routing.context import PeerContext, StateT


class ConnectionContext(PeerContext, Generic[StateT]):
    """One connection's life in a namespace, from before it is admitted until after it is gone.

    | state | `open` | `gone` | `join` and `emit` |
    |---|---|---|---|
    | being admitted | False | False | are collected; the gateway carries them out right after CONNECT |
    | connected | True | False | go to the connection's gateway at once |
    | gone | True | True | do nothing |

    What middleware emits to other connections is sent at once in every state.
    """

    __slots__ = ("gone", "initial_events", "initial_rooms", "open", "reason", "state")

    def __init__(
        self,
        emitter: Emitter,
        request: ConnectRequest,
        correlation: str,
        data: ConnectionData,
        state: StateT = None,  # pyright: ignore[reportArgumentType] - a gateway's middleware has none
    ) -> None:
        super().__init__(emitter, request.gateway, request, correlation, data)
        self.state = state
        """The value that the service's lifespan yielded; None in a gateway."""
        self.open = False
        """Whether the connection has been admitted."""
        self.gone = False
        """Whether the connection has ended since."""
        self.reason = ""
        """Why the connection ended: one of `parley.common.wire.disconnects.DisconnectReason`."""
        self.initial_rooms: list[str] = []
        """Rooms to put the connection into when it is admitted."""
        self.initial_events: list[UnloggedEvent] = []
        """Events to send the connection when it is admitted."""

    async def emit(self, event: str, *args: Any) -> None:
        """Send this connection an event; one that is emitted during admission arrives after CONNECT."""
        if self.gone:
            return
        if self.open:
            await super().emit(event, *args)
            return
        # Encoded now: the caller may change its arguments before the connection is admitted.
        encoded, attachments = extract(args)
        self.initial_events.append(UnloggedEvent(event, encoded, attachments))

    async def join(self, *rooms: str) -> None:
        """Put this connection into ad hoc rooms. Raises `ValueError` for a room that is not for this."""
        if self.gone:
            return
        if self.open:
            await super().join(*rooms)
            return
        # Checked now, so that a mistake is raised where it was made.
        for room in rooms:
            subjects.check_ad_hoc(self.namespace, room)
            self.initial_rooms.append(room)

    def mark_gone(self, closed: ConnectionClosed) -> None:
        """Mark the connection as gone and load its final data.

        A recovered connection goes on under the sid it had before, so the sid may be another one by now.
        """
        self.sid, self.reason, self.gone = closed.sid, closed.reason, True
        self._data = ConnectionData(closed.data)
