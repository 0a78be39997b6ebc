"""Packet middleware that the gateway runs: events pass it on their way to the service, and outcomes on the way back.

A connection's events keep their order: the next one enters the middleware when the one before was forwarded or refused.
Each connection with waiting events has a task that lets them in (`_pump`), and each event one that it runs in
(`_pass`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import msgspec

from parley.common.errors import Code, Reject, known_code
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire.binary import Unsendable, insert
from parley.common.wire.commands import Command, ConnectionCommands, error_of
from parley.common.wire.identifiers import uuid7
from parley.framework.remote.emitter import Emitter
from parley.framework.routing.connection_data import ConnectionData
from parley.framework.routing.middleware import compose
from parley.framework.serving.event_result import EventResult
from parley.framework.serving.invocation import Invocation
from parley.gateway import named_middleware
from parley.gateway.commands.command_budget import CommandBudget
from parley.gateway.commands.forwarder import CommandForwarder, Reply
from parley.gateway.connections.connection import Connection, QueuedCommand
from parley.gateway.namespaces import Namespace
from parley.gateway.settings import GatewaySettings
from parley.gateway.socketio.packets import EventPacket

SECONDS = 30.0
"""Seconds that an event may spend in the middleware, besides the time that its command may take."""


class _MiddlewareInvocation(Invocation[None]):
    """An event in the middleware."""

    __slots__ = ("connection", "forwarded", "free", "outcome")

    connection: Connection
    free: asyncio.Event
    """Set when the next event of the connection may enter."""
    outcome: EventResult | None
    """What the service answered."""
    forwarded: dict[str, Any] | None
    """The result in it. The client gets the service's answer unchanged unless middleware sets another result."""


class _Queue:
    """What one connection has emitted and is not through yet, and the calls that wait for it."""

    __slots__ = ("bytes", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[EventPacket | Callable[[], None]] = deque()
        self.bytes = 0


class EventMiddleware:
    """The middleware around the events of each namespace that has some."""

    def __init__(
        self,
        bus: Bus,
        emitter: Emitter,
        namespaces: Mapping[str, Namespace],
        commands: CommandForwarder,
        reply: Reply,
        budget: CommandBudget,
        settings: GatewaySettings,
    ) -> None:
        self._bus = bus
        self._commands = commands
        self._reply = reply
        self._budget = budget
        self._max_waiting = settings.gateway_max_waiting
        self._max_bytes = settings.gateway_max_waiting_bytes
        self._tasks = Tasks()
        self._queues: dict[Connection, _Queue] = {}
        self._emitters = {name: emitter.of(name) for name in namespaces}
        self._handlers: dict[str, Callable[[Any], Awaitable[None]]] = {
            name: compose([named_middleware.packet(wanted) for wanted in namespace.packet_middleware], self._forward)
            for name, namespace in namespaces.items()
            if namespace.packet_middleware
        }

    async def close(self) -> None:
        """Cancel what still runs."""
        await self._tasks.close()

    def submit(self, connection: Connection, packet: EventPacket) -> None:
        """Take an emitted event. Its outcome follows, whatever happens."""
        if connection.namespace not in self._handlers:
            self._commands.submit(connection, packet)
            return
        if (rejection := self._refusal(connection, packet)) is not None:
            self._reply(connection, packet.ack_id, EventResult.refused(rejection))
            return
        if (queue := self._queues.get(connection)) is None:
            queue = self._queues[connection] = _Queue()
            self._tasks.spawn(self._pump(connection, queue), name="packet middleware")
        queue.waiting.append(packet)
        queue.bytes += packet.size

    def after(self, connection: Connection, then: Callable[[], None]) -> None:
        """Call `then` when everything that the connection has emitted is through."""
        if (queue := self._queues.get(connection)) is not None:
            queue.waiting.append(then)
        else:
            then()

    def _refusal(self, connection: Connection, packet: EventPacket) -> Reject | None:
        """Return why an event may not enter the middleware, which would decode it; None if it may."""
        if (
            permanent_refusal := self._commands.permanent_refusal(connection.namespace, packet.event, packet.size)
        ) is not None:
            return permanent_refusal
        queue = self._queues.get(connection)
        if queue is not None and (
            len(queue.waiting) >= self._max_waiting or queue.bytes + packet.size > self._max_bytes
        ):
            return Reject(Code.OVERLOADED, "Too many events wait on this connection; send slower.")
        # The last check: it counts the event, which is queued right after it.
        if not self._budget.take(connection, packet.size):
            return Reject(Code.OVERLOADED, "Too much waits for its outcome; send slower.")
        return None

    async def _pump(self, connection: Connection, queue: _Queue) -> None:
        try:
            while queue.waiting:
                packet = queue.waiting[0]
                if not isinstance(packet, EventPacket):
                    packet()
                elif not connection.kicked:
                    free = asyncio.Event()
                    self._tasks.spawn(self._pass(connection, packet, free), name="packet")
                    await free.wait()
                # Only now, so that a queue that is not empty means that this task still runs.
                queue.waiting.popleft()
                if isinstance(packet, EventPacket):
                    queue.bytes -= packet.size
                    self._budget.give_back(connection, packet.size)
        finally:
            del self._queues[connection]

    async def _pass(self, connection: Connection, packet: EventPacket, free: asyncio.Event) -> None:
        correlation = f"{self._bus.instance}-{uuid7().hex}"
        command = Command(0, packet.event, packet.args, correlation, packet.attachments)
        sender = ConnectionCommands(connection.sid, connection.identity, [command], connection.handshake)
        emitter, data = self._emitters[connection.namespace], ConnectionData(connection.data)
        context = _MiddlewareInvocation(emitter, self._bus.run_address, sender, command, data, None)
        context.connection, context.free = connection, free
        context.outcome = context.forwarded = None
        try:
            async with asyncio.timeout(self._commands.timeout_of(connection.namespace) + SECONDS):
                await self._handlers[connection.namespace](context)
            context.check_data()
            outcome = self._outcome(context)
        except Reject as rejection:
            outcome = EventResult.refused(rejection)
        # msgspec raises it for what is nested more deeply than Python's stack allows.
        except RecursionError:
            outcome = EventResult.refused(Reject(Code.INVALID_PAYLOAD, f"{packet.event[:64]}: nested too deeply"))
        except TimeoutError:
            outcome = EventResult.refused(Reject(Code.TIMEOUT))
        except Unsendable as error:
            outcome = EventResult.refused(Reject(Code.INVALID_PAYLOAD, f"{packet.event[:64]}: {error}"))
        except Exception:
            context.log.exception("packet middleware failed")
            outcome = EventResult.refused(Reject(Code.INTERNAL))
        # However this ended, or the connection's later events would wait for ever.
        finally:
            free.set()
        self._keep(context)
        if not connection.end_reason:
            self._reply(connection, packet.ack_id, outcome)

    async def _forward(self, context: _MiddlewareInvocation) -> None:
        """Forward the event to the service and wait for its result. This is the innermost handler."""
        context.let_through = True
        context.check_data()
        self._keep(context)
        args, attachments = context.encoded_args
        waits: asyncio.Future[EventResult] = asyncio.get_running_loop().create_future()

        def tell(outcome: EventResult) -> None:
            if not waits.done():
                waits.set_result(outcome)

        size = len(args) + sum(map(len, attachments))
        self._commands.submit_command(
            QueuedCommand(context.connection, context.event, args, None, attachments, size, tell)
        )
        context.free.set()
        outcome = await waits
        # The data also have what other events of the connection, and their controllers, have changed meanwhile.
        context.renew_data(context.connection.data)
        if not outcome.ok:
            error: dict[str, Any] = msgspec.json.decode(error_of(outcome.payload))
            code = known_code(error["code"], Code.INTERNAL)
            raise Reject(code, error["message"], retryable=error["retryable"], data=error.get("data"))
        context.outcome = outcome
        context.result = context.forwarded = _result(outcome)

    def _keep(self, context: _MiddlewareInvocation) -> None:
        """Keep what this event's middleware has changed in the connection's data, and nothing that it only read."""
        self._commands.keep(context.connection, context.data_changes())

    def _outcome(self, context: _MiddlewareInvocation) -> EventResult:
        # A middleware has made the ack itself, which overrules the service's.
        if context.own_ack is not None:
            payload, attachments = context.own_ack
            return EventResult(payload, True, attachments)
        if context.outcome is not None and context.result is context.forwarded:
            return context.outcome
        if context.result is not None:
            return EventResult.accepted(context.result, binary=True)
        return EventResult.refused(context.not_let_through())


def _result(outcome: EventResult) -> dict[str, Any] | None:
    """Return the fields of an ordinary ack; None for an ack that the controller made itself."""
    try:
        (ack,) = insert(b"[" + outcome.payload + b"]", outcome.attachments)
    except ValueError:
        return None
    if not isinstance(ack, dict):
        return None
    fields = cast("dict[str, Any]", ack)
    return {name: value for name, value in fields.items() if name != "ok"} if fields.get("ok") is True else None
