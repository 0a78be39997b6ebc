"""One event on its way through middleware and controller: the context that they are given, as its runner sees it.

The dispatcher, the gateway's packet middleware and the testing kit make an `Invocation` for each event. Adopters see
the `Context` that it is; what only the runner may use is kept out of their API by being defined here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from parley.common.errors import Code, Reject
from parley.common.wire.commands import Command
from parley.framework.routing.context import Context, StateT


class Invocation(Context[StateT]):
    """A context, and the part of its state that only its runner may use."""

    __slots__ = ()

    @property
    def own_ack(self) -> tuple[bytes, tuple[bytes, ...]] | None:
        """The JSON arguments that `ack` was called with, and their binary data; None when it was not called."""
        return self._answer

    @property
    def let_through(self) -> bool:
        """Whether all middleware called `call_next`. The runner sets it when the event has reached the controller."""
        return self._let_through

    @let_through.setter
    def let_through(self, let_through: bool) -> None:
        self._let_through = let_through

    @property
    def may_hold_binary(self) -> bool:
        """Whether the result has to be searched for binary data: the controller's annotation does not rule it out."""
        # Middleware may have replaced the result that the annotation speaks of.
        return self.result is not self._plain_result

    def succeed(self, result: Any, *, binary: bool) -> None:
        """Set the result that the controller returned. `binary` is False when its annotation rules out binary data."""
        self.result = result
        if not binary:
            self._plain_result = result

    def error_event(self, error: dict[str, Any]) -> Invocation[StateT]:
        """Make the invocation of the event `error` for the same connection. Raises what msgspec's encoder raises."""
        command = Command(0, "error", msgspec.json.encode([error]), self.correlation)
        return Invocation(self._emitter, self.gateway, self._connection, command, self._data, self.state)

    def not_let_through(self) -> Reject:
        """Make the refusal of an event that middleware neither let through nor answered."""
        return Reject(Code.FORBIDDEN, f"{self.event[:64]} was not let through.")

    def check_data(self) -> None:
        """Raise `Reject` when `data` holds what cannot be encoded or is too large; then the change is dropped."""
        try:
            self._data.check()
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            self.log.exception("connection data that cannot be kept")
            raise Reject(Code.INTERNAL) from error

    def data_changes(self) -> bytes | None:
        """Return the encoded `DataChanges` since the last call, for the gateway; None without any that can be kept."""
        try:
            return self._data.changes()
        except Exception:
            # Even what a value's own encoding raises: the ack must go out, and the commands behind it must be handled.
            self.log.exception("connection data that cannot be kept")
            return None

    def renew_data(self, encoded: bytes) -> None:
        """Replace `data` by the map that the gateway keeps now, after the service has handled the event."""
        self._data.renew(encoded)
