"""Counts the bytes of commands that wait for their outcome in the engine's input budget.

Each connection has bounds of its own, but how many connections there are is an attacker's to choose, and a service that
answers slowly keeps what all of them have sent. So the budget of what clients sent and nobody has taken yet goes on to
count a command until it is settled, also after its connection has ended. `CommandForwarder` and `EventMiddleware`
share it. A connection whose commands are small and answered soon is never counted, which costs it nothing.
"""

from __future__ import annotations

from parley.engineio.reading import InputBudget
from parley.gateway.connections.connection import Connection

UNCOUNTED_COMMAND_BYTES = 16 * 1024
"""Bytes that the commands of one connection may have uncounted."""
COMMAND_OVERHEAD = 512
"""Bytes counted for a command's tag, name and correlation, and for what keeps track of it here."""


class CommandBudget:
    """The bytes that commands hold until they are settled, by connection and in the engine's budget."""

    def __init__(self, budget: InputBudget) -> None:
        self._budget = budget

    def take(self, connection: Connection, size: int) -> bool:
        """Count a command of `size` bytes. Return False, without counting it, when that is too much."""
        unsettled = connection.unsettled + size + COMMAND_OVERHEAD
        if unsettled > UNCOUNTED_COMMAND_BYTES and not self._budget.take(connection, unsettled - connection.held):
            return False
        connection.unsettled = unsettled
        return True

    def add(self, connection: Connection, size: int) -> None:
        """Count a command that the gateway makes itself, for which there must be room. Clients cannot choose its size.

        The next `take` counts it in the engine's budget too.
        """
        connection.unsettled += size + COMMAND_OVERHEAD

    def give_back(self, connection: Connection, size: int) -> None:
        """Count a command no longer: it is settled or dropped."""
        connection.unsettled -= size + COMMAND_OVERHEAD
        if connection.held:
            counted = connection.unsettled if connection.unsettled > UNCOUNTED_COMMAND_BYTES else 0
            if counted < connection.held:
                self._budget.give_back(connection, connection.held - counted)
