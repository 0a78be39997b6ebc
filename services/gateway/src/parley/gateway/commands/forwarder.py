"""Commands on their way: gathered per loop tick into one NATS message per namespace, and their acks on the way back.

A connection has at most one batch in flight. What it emits meanwhile waits and goes together, so its order holds on
any number of service replicas.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
from nats.aio.msg import Msg
from prometheus_client import Counter

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.errors import Code, Reject
from parley.common.tasks import Tasks
from parley.common.wire.codec import decode
from parley.common.wire.commands import AckBatch, Command, CommandBatch, ConnectionCommands
from parley.framework.outcome import Outcome
from parley.gateway.connections.connection import Connection, QueuedCommand
from parley.gateway.namespaces import Namespace
from parley.gateway.settings import Settings
from parley.gateway.socketio.packets import EventPacket

COMMANDS = Counter("parley_gateway_commands_total", "Commands by outcome", ["namespace", "outcome"])

SWEEP_INTERVAL = 0.25
MAX_BATCH_BYTES = 384 * 1024
"""A batch is cut here; with the largest single command on top it still fits a broker message."""
COMMAND_OVERHEAD = 512
"""Bytes counted for a command's tag, name and correlation."""
MAX_EVENT_NAME = 256


class Replies(Protocol):
    """How outcomes reach the client."""

    def reply(self, connection: Connection, ack_id: int | None, outcome: Outcome) -> None:
        """Send the ack, or without one the `error` event of a failed emit."""
        ...


class _Pending(NamedTuple):
    connection: Connection
    ack_id: int | None
    outcome: Callable[[Outcome], None] | None
    deadline: float


class _Batch(NamedTuple):
    service: str
    tags: list[int]


class CommandForwarder:
    """Sends commands and settles each with exactly one outcome: the service's, or a code when there is none."""

    def __init__(self, bus: Bus, namespaces: Mapping[str, Namespace], replies: Replies, settings: Settings) -> None:
        self._bus = bus
        self._namespaces = namespaces
        self._replies = replies
        self._settings = settings
        self._tasks = Tasks()
        self._ready: dict[Connection, None] = {}
        self._pending: OrderedDict[int, _Pending] = OrderedDict()
        self._due: defaultdict[str, deque[int]] = defaultdict(deque[int])
        """Tags by namespace, in the order in which they time out."""
        self._batches: OrderedDict[int, _Batch] = OrderedDict()
        self._tags = itertools.count(1)
        self._batch_numbers = itertools.count(1)
        self._flush_scheduled = False
        # Tells this run's correlation ids from those of an earlier one under the same name.
        self._run = f"{time.time_ns() // 1_000_000:x}"

    async def start(self) -> None:
        """Begin to receive acks."""
        gateway = self._bus.instance
        await self._bus.subscribe(subjects.acks(gateway), self._on_acks)
        await self._bus.subscribe(f"{subjects.acks(gateway)}.*", self._on_no_responders)
        self._tasks.forever(self._sweep(), name="command timeouts")

    async def close(self) -> None:
        """Stop the timeouts."""
        await self._tasks.close()

    @property
    def idle(self) -> bool:
        """Whether nothing waits, neither to be sent nor for its outcome."""
        return not self._ready and not self._pending

    def submit(self, connection: Connection, packet: EventPacket) -> None:
        """Take an emitted event; its outcome follows, whatever happens."""
        self.submit_waiting(connection, QueuedCommand(packet.event, packet.args, packet.ack_id, packet.attachments))

    def submit_waiting(self, connection: Connection, waiting: QueuedCommand) -> None:
        """Take an event whose outcome somebody may wait for."""
        rejection = self.refusal(connection, waiting)
        if rejection is not None:
            self._settle(connection, waiting.ack_id, waiting.outcome, Outcome.refused(rejection))
            return
        self._queue(connection, waiting)

    def notify(self, connection: Connection, event: str, *args: Any) -> None:
        """Tell the service of a connection's life, in order with what the client sends, if it wants to hear of it."""
        if event in connection.notices:
            self._queue(connection, QueuedCommand(event, msgspec.json.encode(args), None, ()))

    def _queue(self, connection: Connection, waiting: QueuedCommand) -> None:
        connection.waiting.append(waiting)
        connection.waiting_bytes += waiting.size
        if not connection.in_flight:
            self._make_ready(connection)

    def refusal(self, connection: Connection, command: QueuedCommand) -> Reject | None:
        """Why an event cannot be taken, or None."""
        size = command.size
        if len(command.event) > MAX_EVENT_NAME:
            return Reject(Code.UNKNOWN_EVENT, f"An event's name is at most {MAX_EVENT_NAME} characters.")
        if size > (limit := self._namespaces[connection.namespace].max_payload):
            return Reject(Code.PAYLOAD_TOO_LARGE, f"An event's payload is at most {limit} bytes.")
        if (
            len(connection.waiting) >= self._settings.gateway_max_waiting
            or connection.waiting_bytes + size > self._settings.gateway_max_waiting_bytes
        ):
            return Reject(Code.OVERLOADED, "Too many commands wait on this connection; send slower.")
        return None if self._bus.connected else Reject(Code.UNAVAILABLE)

    def _make_ready(self, connection: Connection) -> None:
        self._ready[connection] = None
        if not self._flush_scheduled:
            self._flush_scheduled = True
            # A task starts on the next tick, when all that this one brings has been gathered.
            self._tasks.spawn(self._flush(), name="commands")

    async def _flush(self) -> None:
        self._flush_scheduled = False
        ready, self._ready = self._ready, {}
        by_namespace: defaultdict[str, list[Connection]] = defaultdict(list)
        for connection in ready:
            if not connection.waiting:
                continue  # kicked meanwhile
            by_namespace[connection.namespace].append(connection)
        for namespace, connections in by_namespace.items():
            conversations: list[ConnectionCommands] = []
            size = 0
            for connection in connections:
                commands, taken = self._take(connection, MAX_BATCH_BYTES - size)
                conversations.append(
                    ConnectionCommands(
                        connection.sid, connection.identity, commands, connection.handshake, connection.kept
                    )
                )
                size += taken + _weight(connection)
                if size >= MAX_BATCH_BYTES:
                    await self._send(namespace, conversations)
                    conversations, size = [], 0
            if conversations:
                await self._send(namespace, conversations)

    def _take(self, connection: Connection, room: int) -> tuple[list[Command], int]:
        namespace = connection.namespace
        timeout = self._namespaces[namespace].timeout or self._settings.gateway_command_timeout
        deadline = time.monotonic() + timeout
        commands: list[Command] = []
        size = 0
        while connection.waiting and (not commands or size < room):
            waiting = connection.waiting.popleft()
            tag = next(self._tags)
            self._pending[tag] = _Pending(connection, waiting.ack_id, waiting.outcome, deadline)
            self._due[namespace].append(tag)
            correlation = f"{self._bus.instance}-{self._run}-{tag:x}"
            commands.append(Command(tag, waiting.event, waiting.args, correlation, waiting.attachments))
            size += waiting.size + COMMAND_OVERHEAD
            connection.waiting_bytes -= waiting.size
        connection.in_flight += len(commands)
        return commands, size

    async def _send(self, namespace: str, conversations: list[ConnectionCommands]) -> None:
        batch = next(self._batch_numbers)
        tags = [command.tag for talk in conversations for command in talk.commands]
        self._batches[batch] = _Batch(self._namespaces[namespace].service, tags)
        message = CommandBatch(self._bus.instance, namespace, conversations)
        reply = subjects.batch_reply(self._bus.instance, batch)
        try:
            await self._bus.publish(subjects.commands(namespace), message.encode(), reply)
        except Reject as rejection:
            self._fail_batch(batch, rejection)

    async def _on_acks(self, message: Msg) -> None:
        for ack in decode(message.data, AckBatch).acks:
            self._finish(ack.tag, Outcome(ack.payload, ack.ok, ack.attachments), ack.session)

    async def _on_no_responders(self, message: Msg) -> None:
        # The broker answers at once, with an empty message, when nobody serves the namespace.
        batch = subjects.parse_batch_reply(message.subject)
        service = self._batches[batch].service if batch in self._batches else ""
        self._fail_batch(batch, Reject(Code.UNAVAILABLE, f"The service {service} does not answer now; try again."))

    async def _sweep(self) -> None:
        timeout = Outcome.refused(Reject(Code.TIMEOUT))
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            now = time.monotonic()
            for due in self._due.values():
                while due and ((pending := self._pending.get(due[0])) is None or pending.deadline <= now):
                    self._finish(due.popleft(), timeout)
            oldest = next(iter(self._pending), None)
            while self._batches:
                number, batch = next(iter(self._batches.items()))
                if oldest is not None and batch.tags[-1] >= oldest:
                    break
                del self._batches[number]

    def _fail_batch(self, batch: int, rejection: Reject) -> None:
        refused = Outcome.refused(rejection)
        for tag in self._batches.pop(batch, _Batch("", [])).tags:
            self._finish(tag, refused)

    def _finish(self, tag: int, outcome: Outcome, kept: bytes | None = None) -> None:
        pending = self._pending.pop(tag, None)
        if pending is None:
            return  # answered twice, or after its timeout
        connection = pending.connection
        connection.in_flight -= 1
        if kept is not None:
            connection.kept = kept
        self._settle(connection, pending.ack_id, pending.outcome, outcome)
        if not connection.in_flight and connection.waiting:
            self._make_ready(connection)

    def _settle(
        self, connection: Connection, ack_id: int | None, tell: Callable[[Outcome], None] | None, outcome: Outcome
    ) -> None:
        COMMANDS.labels(connection.namespace, "accepted" if outcome.ok else "rejected").inc()
        if tell is not None:
            tell(outcome)
        elif not connection.ended:
            self._replies.reply(connection, ack_id, outcome)


def _weight(connection: Connection) -> int:
    """At most the bytes that a connection adds to a batch besides its commands."""
    identity = connection.identity
    characters = len(identity.user_id) + len(identity.name) + sum(len(role) + 2 for role in identity.roles)
    return 128 + 4 * characters + len(connection.handshake) + len(connection.kept)
