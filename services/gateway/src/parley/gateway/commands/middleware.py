"""Packet middleware that the gateway runs: events pass it on their way to the service, outcomes on the way back.

A connection's events keep their order: one enters the middleware when the one before has been let through or stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import msgspec

from parley.common.binary import Unsendable, insert
from parley.common.errors import Code, Reject, known_code
from parley.common.identifiers import uuid7
from parley.common.tasks import Tasks
from parley.framework.context import Context
from parley.framework.emitter import Emitter
from parley.framework.middleware import compose
from parley.framework.outcome import Outcome
from parley.framework.session import Session
from parley.gateway import middleware
from parley.gateway.commands.forwarder import CommandForwarder, Replies
from parley.gateway.connections.connection import Connection, QueuedCommand
from parley.gateway.namespaces import Namespace
from parley.gateway.socketio.packets import EventPacket

SECONDS = 30.0
"""How long an event may take in the middleware, its command's time included."""


class _Error(msgspec.Struct):
    code: str
    message: str
    retryable: bool
    data: dict[str, Any] | None = None


class _Refused(msgspec.Struct):
    error: _Error


class _Passing(Context[None]):
    """An event in the middleware."""

    __slots__ = ("connection", "forwarded", "free", "outcome")

    connection: Connection
    free: asyncio.Event
    """Set when the next event of the connection may enter."""
    outcome: Outcome | None
    """What the service answered."""
    forwarded: dict[str, Any] | None
    """The result in it, which goes to the client as it came unless middleware sets another."""


class EventMiddleware:
    """The onion of each namespace that has one, around its events."""

    def __init__(
        self,
        instance: str,
        emitter: Emitter,
        namespaces: Mapping[str, Namespace],
        commands: CommandForwarder,
        replies: Replies,
        max_waiting: int,
    ) -> None:
        self._instance = instance
        self._commands = commands
        self._replies = replies
        self._max_waiting = max_waiting
        self._tasks = Tasks()
        self._queues: dict[Connection, deque[EventPacket | Callable[[], None]]] = {}
        self._emitters = {name: emitter.of(name) for name in namespaces}
        self._handlers: dict[str, Callable[[Any], Awaitable[None]]] = {
            name: compose([middleware.packet(wanted) for wanted in namespace.packet_middleware], self._forward)
            for name, namespace in namespaces.items()
            if namespace.packet_middleware
        }

    async def close(self) -> None:
        """Give up on what still runs."""
        await self._tasks.close()

    def submit(self, connection: Connection, packet: EventPacket) -> None:
        """Take an emitted event; its outcome follows, whatever happens."""
        if connection.namespace not in self._handlers:
            self._commands.submit(connection, packet)
            return
        queue = self._queues.get(connection)
        if queue is not None and len(queue) >= self._max_waiting:
            refused = Outcome.refused(Reject(Code.OVERLOADED, "Too many events wait on this connection; send slower."))
            self._replies.reply(connection, packet.ack_id, refused)
        elif queue is not None:
            queue.append(packet)
        else:
            self._queues[connection] = deque([packet])
            self._tasks.spawn(self._pump(connection), name="packet middleware")

    def after(self, connection: Connection, then: Callable[[], None]) -> None:
        """Call when everything that the connection has emitted is through."""
        if (queue := self._queues.get(connection)) is not None:
            queue.append(then)
        else:
            then()

    async def _pump(self, connection: Connection) -> None:
        queue = self._queues[connection]
        try:
            while queue:
                packet = queue[0]
                if not isinstance(packet, EventPacket):
                    packet()
                elif not connection.kicked:
                    free = asyncio.Event()
                    self._tasks.spawn(self._pass(connection, packet, free), name="packet")
                    await free.wait()
                queue.popleft()
        finally:
            del self._queues[connection]

    async def _pass(self, connection: Connection, packet: EventPacket, free: asyncio.Event) -> None:
        session = Session(connection.kept)
        context = _Passing(
            self._emitters[connection.namespace], connection.identity, connection.sid, self._instance,
            f"{self._instance}-{uuid7().hex}", connection.handshake, session,
            event=packet.event, args=packet.args, attachments=packet.attachments, state=None,
        )  # fmt: skip
        context.connection, context.free, context.outcome, context.forwarded = connection, free, None, None
        try:
            async with asyncio.timeout(SECONDS):
                await self._handlers[connection.namespace](context)
            context.check_session()
            outcome = self._outcome(context)
        except Reject as rejection:
            outcome = Outcome.refused(rejection)
        except TimeoutError:
            outcome = Outcome.refused(Reject(Code.TIMEOUT))
        except Unsendable as error:
            outcome = Outcome.refused(Reject(Code.INVALID_PAYLOAD, f"{packet.event[:64]}: {error}"))
        except Exception:
            context.log.exception("packet middleware failed")
            outcome = Outcome.refused(Reject(Code.INTERNAL))
        finally:
            free.set()
        _keep(context)
        if not connection.ended:
            self._replies.reply(connection, packet.ack_id, outcome)

    async def _forward(self, context: _Passing) -> None:
        """The innermost: send the event to the service, and bring back what it answers."""
        context.released = True
        context.check_session()
        _keep(context)
        args, attachments = context.encoded_args
        waits: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def tell(outcome: Outcome) -> None:
            if not waits.done():
                waits.set_result(outcome)

        self._commands.submit_waiting(context.connection, QueuedCommand(context.event, args, None, attachments, tell))
        context.free.set()
        outcome = await waits
        context.renew_session(context.connection.kept)
        if not outcome.ok:
            error = msgspec.json.decode(outcome.payload, type=_Refused).error
            code = known_code(error.code, Code.INTERNAL)
            raise Reject(code, error.message, retryable=error.retryable, data=error.data)
        context.outcome = outcome
        context.result = context.forwarded = _result(outcome)

    def _outcome(self, context: _Passing) -> Outcome:
        if context.answer is not None:
            payload, attachments = context.answer
            return Outcome(payload, True, attachments)
        if context.outcome is not None and context.result is context.forwarded:
            return context.outcome
        if context.result is not None:
            return Outcome.accepted(context.result, binary=True)
        return Outcome.refused(context.stopped())


def _result(outcome: Outcome) -> dict[str, Any] | None:
    """The fields of an ordinary ack; None for one that a controller made itself."""
    try:
        (ack,) = insert(b"[" + outcome.payload + b"]", outcome.attachments)
    except ValueError:
        return None
    if not isinstance(ack, dict):
        return None
    fields = cast("dict[str, Any]", ack)
    return {name: value for name, value in fields.items() if name != "ok"} if fields.get("ok") is True else None


def _keep(context: _Passing) -> None:
    if (changed := context.changed_session()) is not None:
        context.connection.kept = changed
