"""Sends commands to services and returns their acks.

What is gathered until the next write is one message per namespace.

A connection has at most one batch in flight. What it emits meanwhile waits and travels together, so its order holds
with any number of service replicas. `Gateway` submits events, through `event_middleware`; `Lifecycle` submits what
services want to know of a connection's life, in order with the events. Each command is settled exactly once: by its
ack, by NATS when nobody serves the namespace, by a failure to send, or by its timeout.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec
from nats.aio.msg import Msg

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.nats.tags import TagTable
from parley.common.nats.tally import Tally
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.commands import AckBatch, Command, CommandBatch, ConnectionCommands
from parley.framework.routing.connection_data import apply_changes
from parley.framework.serving.event_result import EventResult
from parley.gateway.commands.command_budget import COMMAND_OVERHEAD, CommandBudget
from parley.gateway.connections.connection import Connection, ConnectionState, QueuedCommand
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.namespaces import Namespace
from parley.gateway.settings import GatewaySettings
from parley.gateway.socketio.packets import EventPacket

log = get_logger(__name__)

COMMANDS = Tally("parley_gateway_commands_total", "Commands by outcome", ["namespace", "outcome"])

MAX_BATCH_BYTES = 384 * 1024
"""Bytes at which a batch is split. With the largest single command on top it still fits one message of NATS."""
FULL = 32
"""Connections with something to send at which a message is written at once, so that the service begins while the
gateway still reads the others."""
MAX_EVENT_NAME = 256
MAX_LATE = 100_000
"""Commands that timed out and whose connections are remembered, so that their controllers can still change its data."""


Reply = Callable[[Connection, int | None, EventResult], object]
"""Sends a client the ack with this id; if there is none, a failed emit is sent the event `error`."""


class _Message(NamedTuple):
    """One message of commands. The range of their tags is in its reply subject too."""

    batch: CommandBatch
    tags: range


class CommandForwarder:
    """Sends commands and settles each with exactly one outcome: the service's, or a code if there is none."""

    def __init__(
        self,
        bus: Bus,
        namespaces: Mapping[str, Namespace],
        connections: ConnectionRegistry,
        reply: Reply,
        budget: CommandBudget,
        settings: GatewaySettings,
    ) -> None:
        self._bus = bus
        self._budget = budget
        self._connections = connections
        self._namespaces = namespaces
        self._reply = reply
        self._settings = settings
        self._tasks = Tasks()
        self._correlation = f"{bus.instance}-{bus.run}-"
        self._ready: dict[Connection, None] = {}
        # A table for each: the service behind one namespace settles no command of another.
        self._sent = {namespace: TagTable[QueuedCommand](self._on_timeout) for namespace in namespaces}
        self._late: OrderedDict[int, Connection] = OrderedDict()
        self._flush_scheduled = False

    async def start(self) -> None:
        """Begin to receive acks."""
        for namespace in self._namespaces:
            acks = subjects.acks(self._bus.run_address, namespace)
            self._bus.listen(acks, partial(self._on_acks, namespace))
            await self._bus.subscribe(subjects.ranges(acks), partial(self._on_no_responders, namespace))

    async def close(self) -> None:
        """Stop the timeouts, and what is being sent."""
        for sent in self._sent.values():
            sent.close()
        await self._tasks.close()

    @property
    def idle(self) -> bool:
        """Whether nothing waits, neither to be sent nor for its outcome."""
        return not self._ready and not any(map(len, self._sent.values()))

    def timeout_of(self, namespace: str) -> float:
        """Return how many seconds a command of a namespace waits for its outcome."""
        return self._namespaces[namespace].timeout or self._settings.gateway_command_timeout

    def submit(self, connection: Connection, packet: EventPacket) -> None:
        """Take an emitted event. Its outcome follows, whatever happens."""
        self.submit_command(
            QueuedCommand(connection, packet.event, packet.args, packet.ack_id, packet.attachments, packet.size)
        )

    def submit_command(self, command: QueuedCommand) -> None:
        """Take a command whose outcome its `on_result` may wait for."""
        rejection = self._present_refusal(command)
        if rejection is not None:
            self._settle(command, EventResult.refused(rejection))
            return
        self._queue(command)
        if len(self._ready) >= FULL and not self._bus.congested:
            self._bus.write()

    def send_lifecycle(self, connection: Connection, event: str, *args: Any) -> None:
        """Tell the service of an event in a connection's life, if it asked for that.

        It comes in order with what the client emits.
        """
        if event in connection.lifecycle_events:
            encoded = msgspec.json.encode(args)
            # Counted, and never refused: what a service wants to know of a connection's end may not be lost to a bound.
            self._budget.add(connection, len(encoded))
            self._queue(QueuedCommand(connection, event, encoded, None, (), len(encoded)))

    def _queue(self, command: QueuedCommand) -> None:
        connection = command.connection
        connection.queued.append(command)
        connection.queued_bytes += command.size
        # Otherwise the end of what is in flight makes it ready.
        if not connection.in_flight:
            self._make_ready(connection)

    def permanent_refusal(self, namespace: str, event: str, size: int) -> Reject | None:
        """Return why an event with this name and size can never be taken, or None."""
        if len(event) > MAX_EVENT_NAME:
            return Reject(Code.UNKNOWN_EVENT, f"An event's name is at most {MAX_EVENT_NAME} characters.")
        if size > (limit := self._namespaces[namespace].max_payload):
            return Reject(Code.PAYLOAD_TOO_LARGE, f"An event's payload is at most {limit} bytes.")
        return None

    def _present_refusal(self, command: QueuedCommand) -> Reject | None:
        """Return why a command cannot be taken now, or None; then it counts in the budget."""
        connection, size = command.connection, command.size
        if (permanent_refusal := self.permanent_refusal(connection.namespace, command.event, size)) is not None:
            return permanent_refusal
        if (
            len(connection.queued) >= self._settings.gateway_max_waiting
            or connection.queued_bytes + size > self._settings.gateway_max_waiting_bytes
        ):
            return Reject(Code.OVERLOADED, "Too many commands wait on this connection; send slower.")
        if not self._bus.connected:
            return Reject(Code.UNAVAILABLE)
        # The last check: it counts the command, which is queued right after it.
        if not self._budget.take(connection, size):
            return Reject(Code.OVERLOADED, "Too much waits for its outcome; send slower.")
        return None

    def drop_queued(self, connection: Connection) -> None:
        """Drop the commands of a connection that were not sent yet. Nobody is told of an outcome."""
        for command in connection.queued:
            self._budget.give_back(connection, command.size)
        connection.queued.clear()
        connection.queued_bytes = 0

    def _make_ready(self, connection: Connection) -> None:
        self._ready[connection] = None
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._bus.before_write(self._flush)

    def _flush(self) -> None:
        if self._bus.congested:
            # NATS takes nothing more at the moment. The commands wait in their connections' queues, which have bounds.
            self._tasks.spawn(self._flush_later(), name="commands")
        else:
            self._send_ready()

    async def _flush_later(self) -> None:
        await self._bus.drained()
        self._send_ready()

    def _send_ready(self) -> None:
        self._flush_scheduled = False
        for message in self._take_ready():
            namespace, tags = message.batch.namespace, message.tags
            acks = subjects.acks(self._bus.run_address, namespace)
            try:
                self._bus.send(subjects.commands(namespace), message.batch.encode(), subjects.with_range(acks, tags))
            except Reject as rejection:
                self._fail(namespace, tags, rejection)
            except Exception:
                log.exception("commands not sent", namespace=namespace, commands=len(tags))
                self._fail(namespace, tags, Reject(Code.INTERNAL))

    def _take_ready(self) -> Iterator[_Message]:
        # Taken at once: what is submitted while a message is sent goes with the next write.
        ready, self._ready = self._ready, {}
        by_namespace: defaultdict[str, list[Connection]] = defaultdict(list)
        for connection in ready:
            # A connection that was kicked meanwhile has nothing waiting.
            if connection.queued and not connection.in_flight:
                by_namespace[connection.namespace].append(connection)
        for namespace, connections in by_namespace.items():
            taken: list[tuple[Connection, list[QueuedCommand]]] = []
            size = 0
            for connection in connections:
                commands, weight = _take(connection, MAX_BATCH_BYTES - size)
                taken.append((connection, commands))
                size += weight
                if size >= MAX_BATCH_BYTES:
                    yield self._message(namespace, taken)
                    taken, size = [], 0
            if taken:
                yield self._message(namespace, taken)

    def _message(self, namespace: str, taken: list[tuple[Connection, list[QueuedCommand]]]) -> _Message:
        commands_in_order = [command for _, queued in taken for command in queued]
        tags = self._sent[namespace].issue(commands_in_order, self.timeout_of(namespace))
        tag, prefix = tags.start, self._correlation
        senders: list[ConnectionCommands] = []
        for connection, queued in taken:
            commands: list[Command] = []
            for command in queued:
                commands.append(Command(tag, command.event, command.args, f"{prefix}{tag:x}", command.attachments))
                tag += 1
            senders.append(
                ConnectionCommands(connection.sid, connection.identity, commands, connection.handshake, connection.data)
            )
        return _Message(CommandBatch(self._bus.run_address, namespace, senders), tags)

    def _on_acks(self, namespace: str, data: bytes) -> None:
        sent = self._sent[namespace]
        for ack in decode(data, AckBatch).acks:
            if (pending := sent.settle(ack.tag)) is not None:
                self.keep(pending.connection, ack.data_changes)
                self._finish(pending, EventResult(ack.payload, ack.ok, ack.attachments))
            # Tags are of one namespace's table, but all namespaces share what is late.
            elif (connection := self._late.get(ack.tag)) is not None and connection.namespace == namespace:
                del self._late[ack.tag]
                self.keep(connection, ack.data_changes)

    async def _on_no_responders(self, namespace: str, message: Msg) -> None:
        # The broker answers at once, with an empty message, when nobody serves the namespace.
        for pending in self._sent[namespace].settle_range(*subjects.parse_range(message.subject)):
            service = self._namespaces[pending.connection.namespace].service
            # Without this, each command would wait for its timeout while a service is being deployed.
            unavailable = Reject(Code.UNAVAILABLE, f"The service {service} does not answer now; try again.")
            self._finish(pending, EventResult.refused(unavailable))

    def _on_timeout(self, tag: int, pending: QueuedCommand) -> None:
        # Its controller may still be running, and what it keeps with the connection counts whenever it ends.
        if not pending.connection.end_reason:
            self._late[tag] = pending.connection
            if len(self._late) > MAX_LATE:
                self._late.popitem(last=False)
        self._finish(pending, _TIMED_OUT)

    def _fail(self, namespace: str, tags: range, rejection: Reject) -> None:
        refused = EventResult.refused(rejection)
        for pending in self._sent[namespace].settle_range(tags.start, tags.stop - 1):
            self._finish(pending, refused)

    def keep(self, connection: Connection, changes: bytes | None) -> None:
        """Apply changes to what is kept with a connection.

        They go key by key, since others may have changed other keys.
        """
        if changes is None:
            return
        if connection.state is ConnectionState.ENDED:
            # Its client may have been recovered by this gateway while the command was in flight. Then it has its sid.
            connection = self._connections.get(connection.sid) or connection
        try:
            connection.data = apply_changes(connection.data, changes)
        except Exception:
            log.exception("connection data that cannot be kept", sid=connection.sid, namespace=connection.namespace)

    def _finish(self, pending: QueuedCommand, outcome: EventResult) -> None:
        connection = pending.connection
        # Before the outcome is passed on, so that a failure there cannot block the connection.
        self._budget.give_back(connection, pending.size)
        connection.in_flight -= 1
        # Only once all of the batch have their outcome, or a later command could overtake one on another replica.
        if not connection.in_flight and connection.queued:
            self._make_ready(connection)
        try:
            self._settle(pending, outcome)
        except Exception:
            # A service may ack with anything. The other acks of the same message must still be passed on.
            log.exception("an outcome that cannot be passed on", sid=connection.sid, namespace=connection.namespace)

    def _settle(self, command: QueuedCommand, outcome: EventResult) -> None:
        connection = command.connection
        COMMANDS.counts[connection.namespace, "accepted" if outcome.ok else "rejected"] += 1
        if command.on_result is not None:
            command.on_result(outcome)
        elif not connection.end_reason:
            self._reply(connection, command.ack_id, outcome)


_TIMED_OUT = EventResult.refused(Reject(Code.TIMEOUT))


def _take(connection: Connection, room: int) -> tuple[list[QueuedCommand], int]:
    """Take what waits on a connection while there is room, at least one command.

    Returns it and its bytes with those of the connection.
    """
    commands: list[QueuedCommand] = []
    size = 0
    while connection.queued and (not commands or size < room):
        command = connection.queued.popleft()
        connection.queued_bytes -= command.size
        commands.append(command)
        size += command.size + COMMAND_OVERHEAD
    connection.in_flight += len(commands)
    return commands, size + _weight(connection)


def _weight(connection: Connection) -> int:
    """Return an upper bound, in bytes, of a connection's own fields in a batch."""
    identity = connection.identity
    characters = len(identity.user_id) + len(identity.name)
    if identity.roles:
        characters += sum(len(role) + 2 for role in identity.roles)
    if identity.scopes:
        characters += sum(len(scope) + 2 for scope in identity.scopes)
    # A character has four bytes in UTF-8 at most; counting them exactly would cost an encoding.
    return 128 + 4 * characters + len(connection.handshake) + len(connection.data)
