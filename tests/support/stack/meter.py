"""The counters of a gateway, as an operator sees them."""

from __future__ import annotations

from tests.support.clients.raw_socket import TIMEOUT
from tests.support.stack.stack import Stack
from tests.support.waiting import until


class Meter:
    """How much counters of the first gateway have grown since this was made."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._before: dict[str, float] = {}

    async def read(self) -> dict[str, float]:
        """All samples."""
        text = (await self._stack.http.get(f"{self._stack.gateways[0].url}/metrics")).text
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}

    async def grown(self, name: str) -> float:
        """By how much one has grown."""
        return (await self.read()).get(f"parley_gateway_{name}", 0) - self._before.get(f"parley_gateway_{name}", 0)

    async def grows(self, name: str, by: float = 1) -> None:
        """Wait until one has grown so much."""

        async def has_grown() -> bool:
            return await self.grown(name) >= by

        await until(has_grown, f"{name} grows by {by}", seconds=TIMEOUT)
