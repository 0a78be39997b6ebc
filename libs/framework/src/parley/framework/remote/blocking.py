"""The emitter for code that is not async: a Django view, a script, a cron job.

with BlockingEmitter.connected("nats://127.0.0.1:4222", "/shop") as everybody:
    everybody.to("room1").emit("price", {"usd": 5})
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from parley.common.wire.connections import ConnectionInfo
from parley.framework.remote.emitter import AcksResult, BroadcastOperator, Emitter

ResultT = TypeVar("ResultT")


class BlockingBroadcastOperator:
    """A `BroadcastOperator` whose calls return when they are done. Threads may share one."""

    def __init__(self, portal: BlockingPortal, broadcast: BroadcastOperator) -> None:
        self._portal = portal
        self._broadcast = broadcast

    # -- to whom, and how ------------------------------------------------------------------------------------------

    def to(self, *rooms: str) -> BlockingBroadcastOperator:
        """Also those in any of these rooms."""
        return BlockingBroadcastOperator(self._portal, self._broadcast.to(*rooms))

    def to_user(self, *user_ids: str) -> BlockingBroadcastOperator:
        """Also every connection of these users."""
        return BlockingBroadcastOperator(self._portal, self._broadcast.to_user(*user_ids))

    def except_(self, *rooms: str) -> BlockingBroadcastOperator:
        """Without those in any of these rooms."""
        return BlockingBroadcastOperator(self._portal, self._broadcast.except_(*rooms))

    @property
    def volatile(self) -> BlockingBroadcastOperator:
        """Skip clients whose write buffer is full (Socket.IO's `volatile`)."""
        return BlockingBroadcastOperator(self._portal, self._broadcast.volatile)

    # -- what to do ------------------------------------------------------------------------------------------------

    def emit(self, event: str, *args: Any) -> None:
        """Send an event. When it returns, the broker has it."""

        async def emit() -> None:
            await self._broadcast.emit(event, *args)
            await self._broadcast.flush()

        self._run(emit)

    def emit_with_acks(self, event: str, *args: Any, timeout: float) -> AcksResult:
        """Send an event and wait until all have answered, at most `timeout` seconds."""
        return self._run(lambda: self._broadcast.emit_with_acks(event, *args, timeout=timeout))

    def fetch_connections(self) -> list[ConnectionInfo]:
        """Ask who they are, and in which rooms."""
        return self._run(self._broadcast.fetch_connections)

    def join(self, *rooms: str) -> int:
        """Put them into rooms for as long as they last, and return how many they are."""
        return self._run(lambda: self._broadcast.join(*rooms))

    def leave(self, *rooms: str) -> int:
        """Take them out of rooms, and return how many they are."""
        return self._run(lambda: self._broadcast.leave(*rooms))

    def disconnect(self, *, close: bool = False) -> int:
        """End their stay in the namespace and, with `close`, their transports. Returns how many they were."""
        return self._run(lambda: self._broadcast.disconnect(close=close))

    def _run(self, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        return self._portal.call(call)


class BlockingEmitter(BlockingBroadcastOperator):
    """Everybody in a namespace, for code that is not async."""

    @classmethod
    @contextmanager
    def connected(cls, nats_url: str, namespace: str, *, name: str = "emitter") -> Generator[BlockingEmitter]:
        """Connect to NATS until the block ends; the connection lives in a thread of its own."""
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(Emitter.connected(nats_url, namespace, name=name)) as emitter,
        ):
            yield cls(portal, emitter)
