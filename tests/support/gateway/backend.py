"""A service as a gateway's commands meet it, which answers when it is told to."""

from __future__ import annotations

from nats.aio.msg import Msg

from parley.common.nats.bus import Bus
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.commands import Ack, AckBatch, Command, CommandBatch, ok_payload
from tests.support.waiting import until


class Backend:
    """The service's side: keeps the batches that come, and answers when told to."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.batches: list[CommandBatch] = []
        self.answering = False

    async def serve(self, *namespaces: str) -> None:
        """Begin to take batches."""
        for namespace in namespaces:
            await self.bus.subscribe(subjects.commands(namespace), self._receive, queue="service")
        await self.bus.flush()

    async def _receive(self, message: Msg) -> None:
        batch = decode(message.data, CommandBatch)
        self.batches.append(batch)
        if self.answering:
            await self.answer(batch)

    async def answer(self, batch: CommandBatch) -> None:
        """Accept all commands of a batch."""
        acks = [Ack(command.tag, ok_payload(None), True) for command in commands_of(batch)]
        await self.bus.publish(subjects.acks(batch.gateway, batch.namespace), AckBatch(acks).encode())

    async def batch(self, number: int) -> CommandBatch:
        """Wait for the batch of this number, from 0."""
        await until(lambda: len(self.batches) > number)
        return self.batches[number]


def commands_of(batch: CommandBatch) -> list[Command]:
    """A batch's commands, in order."""
    return [command for talk in batch.connections for command in talk.commands]


def events_of(batch: CommandBatch) -> list[str]:
    """The names of a batch's events, in order."""
    return [command.event for command in commands_of(batch)]
