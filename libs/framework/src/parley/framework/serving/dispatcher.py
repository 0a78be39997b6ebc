"""Takes batches of commands from gateways, has their controllers run in order, and sends the acks.

`Service` starts and closes the `Dispatcher`. NATS' listener calls `_receive` with each batch, on the service's loop.

Order: the commands of one connection are started in the order in which they were sent. A command that is not pipelined
waits until all before it have ended, and those after it wait for it. Connections do not wait for each other.

A task costs more than most controllers, so there are three ways to run a connection's commands:

- sync controllers: `_start_sync` starts those of a whole read in one callback, without a task; an ack follows at once
  or when the future that the controller returned is done;
- one command whose async controller has never waited so far: `_run_shared` runs many connections in one task;
- everything else: `_run_alone` has a task for each connection.

The commands in hand are bounded in number and in bytes (`MAX_PENDING`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import Context as ContextVariables
from contextvars import copy_context
from typing import Any

import msgspec

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.nats.outbox import Outbox
from parley.common.nats.subscriptions import Listener
from parley.common.process.logs import CORRELATION
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.commands import Ack, AckBatch, Command, CommandBatch, ConnectionCommands
from parley.framework.remote.emitter import Emitter
from parley.framework.routing.connection_data import ConnectionData
from parley.framework.routing.router import Router
from parley.framework.serving.event_result import EventResult
from parley.framework.serving.event_runner import EventRunner
from parley.framework.serving.invocation import Invocation

MAX_PENDING = 20_000
"""Commands that one process has in hand at most; more are refused with `overloaded`."""
MAX_PENDING_BYTES = 64 * 1024 * 1024
"""Bytes of these commands at most, with the handshake and the data that come with them."""
MAX_ACK_BYTES = 512 * 1024
"""A batch of acks is cut here: half of NATS' default `max_payload`, since `_weight` is an estimate."""
ACK_OVERHEAD = 32
"""Bytes counted for an ack, or an attachment of it, besides what is in it."""
STARTED_AT_ONCE = 32
"""Connections whose sync controllers are started before the loop has its turn: a read may bring thousands."""
FINISH_SECONDS = 5.0
"""Seconds that the commands in hand may still take when the service stops."""


class _Namespace:
    """One namespace of the service, with what its commands need."""

    __slots__ = ("emitter", "never_waited", "router", "runner")

    def __init__(self, router: Router[Any], emitter: Emitter) -> None:
        self.router = router
        self.emitter = emitter
        self.runner = EventRunner(router)
        self.never_waited = {event for event, route in router.routes.items() if not route.pipelined}
        """Events whose controllers have never waited so far, for which connections may share a task."""

    def may_start(self, sender: ConnectionCommands) -> bool:
        """Whether all commands of a connection can be started in a callback, without a task."""
        commands, may_start = sender.commands, self.runner.may_start
        if len(commands) == 1:
            return may_start(commands[0].event, alone=True)
        return all(may_start(command.event, alone=False) for command in commands)

    def may_share(self, sender: ConnectionCommands) -> bool:
        """Whether a connection's commands may run in a task that goes on to another connection."""
        return len(sender.commands) == 1 and sender.commands[0].event in self.never_waited


class _QueuedCommands(msgspec.Struct, gc=False):
    """The commands of one connection in a batch, with its gateway, the subject of its acks, and their bytes."""

    gateway: str
    acks: str
    namespace: _Namespace
    sender: ConnectionCommands
    size: int


class _SyncCommand(msgspec.Struct):
    """A command that a sync controller handles: where its ack goes, and the bytes that it counts for."""

    acks: str
    tag: int
    size: int


class Dispatcher:
    """Runs the commands of a service's namespaces, in the queue group `bus.service` that its replicas share."""

    def __init__(
        self, bus: Bus, routers: Mapping[str, Router[Any]], emitters: Mapping[str, Emitter], state: Any
    ) -> None:
        self._bus = bus
        self._served = {namespace: _Namespace(router, emitters[namespace]) for namespace, router in routers.items()}
        self._state = state
        self._tasks = Tasks()
        self._subscriptions: list[Listener] = []
        self._pending = 0
        self._pending_bytes = 0
        self._shared: deque[_QueuedCommands] = deque()
        """Connections that the next shared task handles."""
        self._sync: list[_QueuedCommands] = []
        """Connections whose controllers are sync; the next callback starts them."""
        self._acks = Outbox[Ack](
            bus,
            self._tasks,
            "acks",
            encode=_encode,
            weigh=_weight,
            max_bytes=MAX_ACK_BYTES,
            replace=lambda ack: Ack(ack.tag, _TOO_LARGE.payload, _TOO_LARGE.ok),
        )

    async def start(self) -> None:
        """Begin to take commands. Also starts the sweep for controllers that take too long."""
        for namespace, served in self._served.items():
            self._tasks.forever(served.runner.run_sweep(), name="controller timeouts")
            subject = subjects.commands(namespace)
            self._subscriptions.append(self._bus.listen(subject, self._receive, queue=self._bus.service))

    async def close(self) -> None:
        """Take no more commands, let those in hand end for `FINISH_SECONDS`, and cancel the rest."""
        # First of all: NATS gives what comes from now on to another replica.
        for subscription in self._subscriptions:
            await self._bus.unsubscribe(subscription)
        deadline = time.monotonic() + FINISH_SECONDS
        while (self._pending or not self._acks.empty) and time.monotonic() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)
        self._shared.clear()
        for served in self._served.values():
            served.runner.close()
        await self._tasks.close()

    def _receive(self, data: bytes) -> None:
        batch = decode(data, CommandBatch)
        served = self._served[batch.namespace]
        acks = subjects.acks(batch.gateway, batch.namespace)
        for sender in batch.connections:
            size = _size(sender)
            # All or none of a connection's commands, since each may build on the one before.
            if self._pending >= MAX_PENDING or self._pending_bytes + size > MAX_PENDING_BYTES:
                for command in sender.commands:
                    self._acks.add(acks, Ack(command.tag, _OVERLOADED.payload, _OVERLOADED.ok))
                continue
            self._pending += len(sender.commands)
            self._pending_bytes += size
            queued = _QueuedCommands(batch.gateway, acks, served, sender, size)
            if served.may_start(sender):
                if not self._sync:
                    # Not here, in nats-py's task that reads messages: a controller that cancels its task or sets a
                    # context variable would do so to the reader.
                    asyncio.get_running_loop().call_soon(self._start_sync, context=ContextVariables())
                self._sync.append(queued)
                continue
            if not served.may_share(sender):
                self._tasks.spawn(self._run_alone(queued), name="commands")
                continue
            if not self._shared:
                self._tasks.spawn(self._run_shared(), name="shared commands")
            self._shared.append(queued)

    def _start_sync(self) -> None:
        """Start the sync controllers that were gathered, each in a copy of a clean context.

        So no controller sees the context variables that another connection's controller has set.
        """
        starting, self._sync = self._sync[:STARTED_AT_ONCE], self._sync[STARTED_AT_ONCE:]
        # This callback's own context is empty, so copies of it are clean.
        now, clean = time.monotonic(), copy_context()
        for queued in starting:
            sender = queued.sender
            data = ConnectionData(sender.data)
            size = len(sender.handshake) + len(sender.data)
            for command in sender.commands:
                sent = _SyncCommand(queued.acks, command.tag, size + _command_size(command))
                clean.copy().run(self._start_command, queued, data, command, sent, now)
                size = 0  # what travels along with all of them is counted once
        if self._sync:
            asyncio.get_running_loop().call_soon(self._start_sync, context=ContextVariables())

    def _start_command(
        self, queued: _QueuedCommands, data: ConnectionData, command: Command, sent: _SyncCommand, now: float
    ) -> None:
        CORRELATION.set(command.correlation)
        queued.namespace.runner.start(self._invocation(queued, data, command), sent, self._ack_sync, now)

    def _ack_sync(self, invocation: Invocation[Any], sent: _SyncCommand, result: EventResult) -> None:
        self._pending -= 1
        self._pending_bytes -= sent.size
        self._ack(sent.acks, sent.tag, invocation, result)

    def _ack(self, acks: str, tag: int, invocation: Invocation[Any], result: EventResult) -> None:
        changes = invocation.data_changes()
        self._acks.add(acks, Ack(tag, result.payload, result.ok, result.attachments, changes))

    async def _run_shared(self) -> None:
        """Run the command of one connection after the other, until a controller waits or leaves a trace in the task."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        sharing, self._shared = self._shared, deque()
        # Set before the copy, so that contexts compare equal after each command has set it and it was reset.
        CORRELATION.set("")
        clean = copy_context()
        # The loop runs this callback after the present step of this task, which is when all have had their turn or when
        # a controller waits for the first time. In the first case `sharing` is empty and nothing is left to do. In the
        # second its first entry is the one that waits: it keeps this task, and the callback starts a task for each of
        # the others, so that nobody waits for a stranger's database.
        asyncio.get_running_loop().call_soon(self._detach_waiting, sharing, context=clean)
        while sharing:
            queued = sharing[0]
            try:
                sender = queued.sender
                await self._handle(queued, ConnectionData(sender.data), sender.commands[0], task)
            finally:
                self._pending -= 1
                self._pending_bytes -= queued.size
            CORRELATION.set("")
            # A controller that set a context variable would hand it on to the next connection, and one that cancelled
            # its task would cancel the next one's controller. The others stay in `sharing`, for the callback.
            if task.cancelling() or copy_context() != clean:
                return
            if sharing:
                sharing.popleft()

    def _detach_waiting(self, sharing: deque[_QueuedCommands]) -> None:
        """Leave the shared task to the first connection, whose controller waits, and start a task for each other.

        An event whose controller has waited never shares a task again.
        """
        if sharing:
            waiting = sharing.popleft()
            waiting.namespace.never_waited.discard(waiting.sender.commands[0].event)
        for queued in sharing:
            self._tasks.spawn(self._run_alone(queued), name="commands")
        sharing.clear()

    async def _run_alone(self, queued: _QueuedCommands) -> None:
        """Run the commands of one connection in this task, and pipelined ones that follow each other side by side."""
        started: list[asyncio.Task[None]] = []
        commands, data = queued.sender.commands, ConnectionData(queued.sender.data)
        try:
            for command in commands:
                route = queued.namespace.router.routes.get(command.event)
                handled = self._handle(queued, data, command)
                # A lone command needs no second task, whatever its route says.
                if route is not None and route.pipelined and len(commands) > 1:
                    started.append(asyncio.create_task(handled))
                    continue
                # Not pipelined, so everything before it has to have ended.
                if started:
                    await asyncio.gather(*started)
                    started.clear()
                await handled
            if started:
                await asyncio.gather(*started)
        finally:
            self._pending -= len(commands)
            self._pending_bytes -= queued.size

    async def _handle(
        self, queued: _QueuedCommands, data: ConnectionData, command: Command, task: asyncio.Task[Any] | None = None
    ) -> None:
        CORRELATION.set(command.correlation)
        invocation = self._invocation(queued, data, command)
        result = await queued.namespace.runner.handle(invocation, task)
        self._ack(queued.acks, command.tag, invocation, result)

    def _invocation(self, queued: _QueuedCommands, data: ConnectionData, command: Command) -> Invocation[Any]:
        return Invocation(queued.namespace.emitter, queued.gateway, queued.sender, command, data, self._state)


_OVERLOADED = EventResult.refused(Reject(Code.OVERLOADED))
_TOO_LARGE = EventResult.refused(Reject(Code.INTERNAL))


def _size(sender: ConnectionCommands) -> int:
    """The bytes of a connection's commands, with the handshake and the data that came along."""
    return len(sender.handshake) + len(sender.data) + sum(map(_command_size, sender.commands))


def _command_size(command: Command) -> int:
    return len(command.args) + sum(map(len, command.attachments)) if command.attachments else len(command.args)


def _encode(acks: Sequence[Ack]) -> bytes:
    return AckBatch(list(acks)).encode()


def _weight(ack: Ack) -> int:
    size = len(ack.payload) + ACK_OVERHEAD
    if ack.attachments:
        size += sum(len(attachment) + ACK_OVERHEAD for attachment in ack.attachments)
    return size if ack.data_changes is None else size + len(ack.data_changes)
