"""The emitter for code that is not async: a Django application, a script, a cron job.

    everybody = BlockingEmitter("nats://127.0.0.1:4222", "/shop")
    everybody.to("room1").emit("price", {"usd": 5})

The first call starts a thread with an event loop and connects to NATS there; any thread may call.

An emitter may be made in a module that is loaded before a web server forks its workers. A thread does not survive a
fork, and two processes must not share a connection, so each child process starts its own thread at its first call.
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
    """An `Emitter` that runs in a thread of its own, which the first call in a process starts."""

    def __init__(self, nats_url: str, namespace: str, name: str) -> None:
        self._connect = lambda: Emitter.connected(nats_url, namespace, name=name)
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._running: tuple[BlockingPortal, Emitter] | None = None
        _EMITTERS.add(self)

    def call(self, function: Callable[[Emitter], Awaitable[ResultT]]) -> ResultT:
        """Run a function of the emitter in its thread and return the result. Connect first, however long that takes."""
        with self._lock:
            if self._running is None:
                # Both are entered or neither: a first call that fails leaves no thread behind.
                with ExitStack() as stack:
                    portal = stack.enter_context(start_blocking_portal())
                    emitter = stack.enter_context(portal.wrap_async_context_manager(self._connect()))
                    self._running, self._stack = (portal, emitter), stack.pop_all()
            portal, emitter = self._running
        return portal.call(function, emitter)

    def close(self) -> None:
        """Close the connection and end its thread. The next call starts a new one."""
        with self._lock, self._stack:
            self._running = None

    @staticmethod
    def forget_all() -> None:
        """Forget the parent's connections, in a child process right after the fork."""
        for emitter in _EMITTERS:
            # The stack is kept for ever: to collect it is to close it, which waits for a thread that the child has not.
            _OF_PARENTS.append(emitter._stack)  # noqa: SLF001 - of this class
            # The lock is replaced, too: a thread of the parent may have held it at the fork.
            emitter._lock, emitter._stack, emitter._running = threading.Lock(), ExitStack(), None  # noqa: SLF001


_EMITTERS: weakref.WeakSet[_ThreadedEmitter] = weakref.WeakSet()
_OF_PARENTS: list[ExitStack] = []
os.register_at_fork(after_in_child=_ThreadedEmitter.forget_all)


@atexit.register
def _close_all() -> None:
    # Before the interpreter collects the emitters: their exit stacks would wait for threads that have stopped by then.
    for emitter in list(_EMITTERS):
        emitter.close()


class BlockingBroadcastOperator:
    """A `BroadcastOperator` whose calls block until they are done. Threads may share one."""

    def __init__(self, emitter: _ThreadedEmitter, select: Callable[[Emitter], BroadcastOperator]) -> None:
        self._emitter = emitter
        self._select = select

    # -- to whom, and how ------------------------------------------------------------------------------------------

    def to(self, *rooms: str) -> BlockingBroadcastOperator:
        """Select the connections in any of these rooms as well."""
        return BlockingBroadcastOperator(self._emitter, lambda emitter: self._select(emitter).to(*rooms))

    def to_user(self, *user_ids: str) -> BlockingBroadcastOperator:
        """Select every connection of these users as well."""
        return BlockingBroadcastOperator(self._emitter, lambda emitter: self._select(emitter).to_user(*user_ids))

    def except_(self, *rooms: str) -> BlockingBroadcastOperator:
        """Leave out the connections in any of these rooms."""
        return BlockingBroadcastOperator(self._emitter, lambda emitter: self._select(emitter).except_(*rooms))

    @property
    def volatile(self) -> BlockingBroadcastOperator:
        """Skip clients whose write buffer is full (Socket.IO's `volatile`)."""
        return BlockingBroadcastOperator(self._emitter, lambda emitter: self._select(emitter).volatile)

    # -- what to do ------------------------------------------------------------------------------------------------

    def emit(self, event: str, *args: Any) -> None:
        """Send an event. It returns when the broker has it."""

        async def emit(connections: BroadcastOperator) -> None:
            await connections.emit(event, *args)
            await connections.flush()

        self._run(emit)

    def emit_with_acks(self, event: str, *args: Any, timeout: float) -> AcksResult:
        """Send an event and wait until all clients have acked it, at most `timeout` seconds."""
        return self._run(lambda connections: connections.emit_with_acks(event, *args, timeout=timeout))

    def fetch_connections(self) -> list[ConnectionInfo]:
        """Return the selected connections, each with its user and its rooms."""
        return self._run(lambda connections: connections.fetch_connections())

    def join(self, *rooms: str) -> int:
        """Put the connections into ad hoc rooms until they end. Return how many there are."""
        return self._run(lambda connections: connections.join(*rooms))

    def leave(self, *rooms: str) -> int:
        """Take the connections out of rooms. Return how many there are."""
        return self._run(lambda connections: connections.leave(*rooms))

    def disconnect(self, *, close: bool = False) -> int:
        """Disconnect them from the namespace and, with `close`, close their transports. Return how many there were."""
        return self._run(lambda connections: connections.disconnect(close=close))

    def _run(self, call: Callable[[BroadcastOperator], Awaitable[ResultT]]) -> ResultT:
        return self._emitter.call(lambda emitter: call(self._select(emitter)))


class BlockingEmitter(BlockingBroadcastOperator):
    """Every connection of a namespace, for code that is not async. One for a whole program is enough."""

    def __init__(self, nats_url: str, namespace: str, *, name: str = "emitter") -> None:
        """Make an emitter. It connects at its first call. `name` is shown to NATS' operators."""
        self._emitter = _ThreadedEmitter(nats_url, namespace, name)
        super().__init__(self._emitter, lambda emitter: emitter)

    def close(self) -> None:
        """Close the connection and end its thread. At the end of a program this happens by itself."""
        self._emitter.close()

    @classmethod
    @contextmanager
    def connected(cls, nats_url: str, namespace: str, *, name: str = "emitter") -> Generator[BlockingEmitter]:
        """Make an emitter for a script and close it when the block ends."""
        everybody = cls(nats_url, namespace, name=name)
        try:
            yield everybody
        finally:
            everybody.close()
