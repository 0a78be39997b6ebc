"""The emitter for code that is not async: a web application of Django, a script, a cron job.

everybody = BlockingEmitter("nats://127.0.0.1:4222", "/shop")
everybody.to("room1").emit("price", {"usd": 5})

Its connection lives in a thread of its own and is made by the first call. A thread does not survive a fork, and a
connection must not be shared by two processes: so a child of a process that has forked makes its own, and the emitter
may stand in a module that is loaded before a web server forks its workers.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from parley.common.wire.connections import ConnectionInfo
from parley.framework.remote.emitter import AcksResult, BroadcastOperator, Emitter

ResultT = TypeVar("ResultT")


class _ThreadedEmitter:
    """An `Emitter` in a thread of its own, from the first call on, in each process that makes one."""

    def __init__(self, nats_url: str, namespace: str, name: str) -> None:
        self._connect = lambda: Emitter.connected(nats_url, namespace, name=name)
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._running: tuple[BlockingPortal, Emitter] | None = None
        _EMITTERS.add(self)

    def call(self, function: Callable[[Emitter], Awaitable[ResultT]]) -> ResultT:
        """Run a function of the emitter to its end, connecting first if need be. Waits for NATS to be there."""
        with self._lock:
            if self._running is None:
                with ExitStack() as stack:
                    portal = stack.enter_context(start_blocking_portal())
                    emitter = stack.enter_context(portal.wrap_async_context_manager(self._connect()))
                    self._running, self._stack = (portal, emitter), stack.pop_all()
            portal, emitter = self._running
        return portal.call(function, emitter)

    def close(self) -> None:
        """End the connection and its thread; the next call would make others."""
        with self._lock, self._stack:
            self._running = None

    @staticmethod
    def forget_all() -> None:
        """Forget the connections of the parent, in a child that was forked."""
        for emitter in _EMITTERS:
            # Kept, since what is collected is closed, which waits for a thread that the child does not have.
            _OF_PARENTS.append(emitter._stack)  # noqa: SLF001 - of this class
            # Another lock, too: a thread of the parent may have held it.
            emitter._lock, emitter._stack, emitter._running = threading.Lock(), ExitStack(), None  # noqa: SLF001


_EMITTERS: weakref.WeakSet[_ThreadedEmitter] = weakref.WeakSet()
_OF_PARENTS: list[ExitStack] = []
os.register_at_fork(after_in_child=_ThreadedEmitter.forget_all)


@atexit.register
def _close_all() -> None:
    # Not later: what is collected when the interpreter ends waits for threads that have stopped by then.
    for emitter in list(_EMITTERS):
        emitter.close()


class BlockingBroadcastOperator:
    """A `BroadcastOperator` whose calls return when they are done. Threads may share one."""

    def __init__(self, emitter: _ThreadedEmitter, select: Callable[[Emitter], BroadcastOperator]) -> None:
        self._emitter = emitter
        self._select = select

    # -- to whom, and how ------------------------------------------------------------------------------------------

    def to(self, *rooms: str) -> BlockingBroadcastOperator:
        """Also those in any of these rooms."""
        return BlockingBroadcastOperator(self._emitter, lambda emitter: self._select(emitter).to(*rooms))

    def to_user(self, *user_ids: str) -> BlockingBroadcastOperator:
        """Also every connection of these users."""
        return BlockingBroadcastOperator(self._emitter, lambda emitter: self._select(emitter).to_user(*user_ids))

    def except_(self, *rooms: str) -> BlockingBroadcastOperator:
        """Without those in any of these rooms."""
        return BlockingBroadcastOperator(self._emitter, lambda emitter: self._select(emitter).except_(*rooms))

    @property
    def volatile(self) -> BlockingBroadcastOperator:
        """Skip clients whose write buffer is full (Socket.IO's `volatile`)."""
        return BlockingBroadcastOperator(self._emitter, lambda emitter: self._select(emitter).volatile)

    # -- what to do ------------------------------------------------------------------------------------------------

    def emit(self, event: str, *args: Any) -> None:
        """Send an event. When it returns, the broker has it."""

        async def emit(connections: BroadcastOperator) -> None:
            await connections.emit(event, *args)
            await connections.flush()

        self._run(emit)

    def emit_with_acks(self, event: str, *args: Any, timeout: float) -> AcksResult:
        """Send an event and wait until all have answered, at most `timeout` seconds."""
        return self._run(lambda connections: connections.emit_with_acks(event, *args, timeout=timeout))

    def fetch_connections(self) -> list[ConnectionInfo]:
        """Ask who they are, and in which rooms."""
        return self._run(lambda connections: connections.fetch_connections())

    def join(self, *rooms: str) -> int:
        """Put them into rooms for as long as they last, and return how many they are."""
        return self._run(lambda connections: connections.join(*rooms))

    def leave(self, *rooms: str) -> int:
        """Take them out of rooms, and return how many they are."""
        return self._run(lambda connections: connections.leave(*rooms))

    def disconnect(self, *, close: bool = False) -> int:
        """End their stay in the namespace and, with `close`, their transports. Returns how many they were."""
        return self._run(lambda connections: connections.disconnect(close=close))

    def _run(self, call: Callable[[BroadcastOperator], Awaitable[ResultT]]) -> ResultT:
        return self._emitter.call(lambda emitter: call(self._select(emitter)))


class BlockingEmitter(BlockingBroadcastOperator):
    """Everybody in a namespace, for code that is not async. One for a whole program is enough."""

    def __init__(self, nats_url: str, namespace: str, *, name: str = "emitter") -> None:
        """Nothing is connected before the first call."""
        self._emitter = _ThreadedEmitter(nats_url, namespace, name)
        super().__init__(self._emitter, lambda emitter: emitter)

    def close(self) -> None:
        """End the connection and its thread. When a program ends, it is done by itself."""
        self._emitter.close()

    @classmethod
    @contextmanager
    def connected(cls, nats_url: str, namespace: str, *, name: str = "emitter") -> Generator[BlockingEmitter]:
        """Be connected to NATS until the block ends, for a script."""
        everybody = cls(nats_url, namespace, name=name)
        try:
            yield everybody
        finally:
            everybody.close()
