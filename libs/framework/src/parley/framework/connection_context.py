"""What connection middleware is given: a connection that asks to be let in and, after `call_next`, has gone."""

from __future__ import annotations

from typing import Any

from parley.common import subjects
from parley.common.attachments import detach
from parley.common.wire.connections import ConnectionClosed
from parley.common.wire.rooms import UnloggedEvent
from parley.framework.context import Peer


class ConnectionContext(Peer):
    """One connection's life in a namespace, from before it is admitted until after it is gone.

    Until it is admitted, `join` and `emit` take effect right after CONNECT; after it is gone they do nothing. What is
    emitted to others is sent at once.
    """

    __slots__ = ("gone", "greetings", "joins", "open", "reason", "state")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.open = False
        """Whether it has been admitted."""
        self.gone = False
        """Whether it has gone since."""
        self.reason = ""
        """Why it has gone, as in `transport close`, `client namespace disconnect` or `kicked`."""
        self.joins: list[str] = []
        """Rooms to put it into when it is admitted."""
        self.greetings: list[UnloggedEvent] = []
        """Events to send it when it is admitted."""
        self.state: Any = None
        """What the service's lifespan made; None in a gateway."""

    async def emit(self, event: str, *args: Any) -> None:
        """Send this connection an event, after CONNECT."""
        if self.gone:
            return
        if self.open:
            await super().emit(event, *args)
            return
        encoded, attachments = detach(args)
        self.greetings.append(UnloggedEvent(event, encoded, attachments))

    async def join(self, *rooms: str) -> None:
        """Put this connection into rooms. Raises `ValueError` for one that connections may not be put into."""
        if self.gone:
            return
        if self.open:
            await super().join(*rooms)
            return
        for room in rooms:
            subjects.check_ad_hoc(self.namespace, room)
            self.joins.append(room)

    def part(self, closed: ConnectionClosed) -> None:
        """It has gone, with what was kept with it at last."""
        self.sid, self.reason, self.gone = closed.sid, closed.reason, True
        self.renew_session(closed.session)
