"""One event on its way through middleware and controller: what runs it keeps on the context that they are given.

Adopters see a `Context`. The dispatcher, the gateway's own middleware and the testing kit make an `Invocation`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from parley.common.errors import Code, Reject
from parley.common.wire.commands import Command, ConnectionCommands
from parley.common.wire.connections import ConnectRequest
from parley.framework.remote.emitter import Emitter
from parley.framework.routing.connection_data import ConnectionData
from parley.framework.routing.context import Context, StateT


class Invocation(Context[StateT]):
    """A context with what only its runner may use."""

    __slots__ = ("let_through", "plain_result")

    def __init__(
        self,
        emitter: Emitter,
        gateway: str,
        connection: ConnectionCommands | ConnectRequest,
        command: Command,
        data: ConnectionData,
        state: StateT,
    ) -> None:
        super().__init__(emitter, gateway, connection, command, data, state)
        self.let_through = False
        """Whether all middleware called `call_next`."""
        self.plain_result: Any = None
        """The result, when the controller's annotation says that it holds no binary data."""

    @property
    def answer(self) -> tuple[bytes, tuple[bytes, ...]] | None:
        """What `ack` was called with: JSON arguments and their binary data."""
        return self._answer

    def succeed(self, result: Any, *, binary: bool) -> None:
        """Take what the controller returned. Without `binary`, its annotation says that it holds no binary data."""
        self.result = result
        if not binary:
            self.plain_result = result

    def error_event(self, error: dict[str, Any]) -> Invocation[StateT]:
        """Make the event `error` of the same connection. Raises what encoding raises."""
        command = Command(0, "error", msgspec.json.encode([error]), self.correlation)
        return Invocation(self._emitter, self.gateway, self._connection, command, self._data, self.state)

    def not_let_through(self) -> Reject:
        """Return the refusal of an event that middleware neither let through nor answered."""
        return Reject(Code.FORBIDDEN, f"{self.event[:64]} was not let through.")

    def check_data(self) -> None:
        """Raise `Reject` when `data` has become something that cannot be kept, and forget the change."""
        try:
            self._data.check()
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            self.log.exception("connection data that cannot be kept")
            raise Reject(Code.INTERNAL) from error

    def data_changes(self) -> bytes | None:
        """Return the encoded `DataChanges` since the last call, for the gateway. What cannot be kept is logged."""
        try:
            return self._data.changes()
        except Exception:
            # Whatever it is, too large as well: the ack goes, and so does what follows.
            self.log.exception("connection data that cannot be kept")
            return None

    def renew_data(self, encoded: bytes) -> None:
        """Replace `data` by what the gateway keeps now."""
        self._data.renew(encoded)
