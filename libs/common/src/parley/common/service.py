"""The runtime of a service: takes command batches from NATS, runs controllers in order, gathers the acks.

Order: the commands of one connection are started in the order they were sent; one that is not pipelined waits until
all before it have ended, and those after it wait for it. Different connections do not wait for each other.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from nats.aio.msg import Msg
from structlog.contextvars import bound_contextvars

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.envelope import Ack, AckBatch, Command, CommandBatch, Conversation, decode, error_payload, ok_payload
from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.router import Context, Router
from parley.common.tasks import Tasks

log = get_logger(__name__)

MAX_PENDING = 20_000
"""Commands one process has in hand; beyond it the sender is told `overloaded`."""
MAX_ACK_BYTES = 512 * 1024
"""An ack batch is cut here, to stay below the broker's message limit."""


class Service:
    """Serves the namespaces of some routers, in the queue group `bus.service`."""

    def __init__(self, bus: Bus, *routers: Router) -> None:
        self._bus = bus
        self._routers = {router.namespace: router for router in routers}
        self._tasks = Tasks()
        self._pending = 0
        self._acks: defaultdict[str, list[Ack]] = defaultdict(list)
        self._flushing = False

    async def start(self) -> None:
        """Begin to take commands."""
        for namespace in self._routers:
            await self._bus.subscribe(subjects.commands(namespace), self._receive, queue=self._bus.service)

    async def close(self) -> None:
        """Stop what is still running."""
        await self._tasks.close()

    async def _receive(self, message: Msg) -> None:
        batch = decode(message.data, CommandBatch)
        router = self._routers[batch.namespace]
        for conversation in batch.conversations:
            if self._pending >= MAX_PENDING:
                for command in conversation.commands:
                    self._ack(batch.gateway, command.tag, error_payload(Reject(Code.OVERLOADED).as_dict()), ok=False)
                continue
            self._pending += len(conversation.commands)
            self._tasks.spawn(self._converse(batch.gateway, router, conversation), name="conversation")

    async def _converse(self, gateway: str, router: Router, conversation: Conversation) -> None:
        started: list[asyncio.Task[None]] = []
        try:
            for command in conversation.commands:
                route = router.routes.get(command.event)
                if route is not None and route.pipelined and len(conversation.commands) > 1:
                    started.append(asyncio.create_task(self._handle(gateway, router, conversation, command)))
                    continue
                if started:
                    await asyncio.gather(*started)
                    started.clear()
                await self._handle(gateway, router, conversation, command)
            if started:
                await asyncio.gather(*started)
        finally:
            self._pending -= len(conversation.commands)

    async def _handle(self, gateway: str, router: Router, conversation: Conversation, command: Command) -> None:
        context = Context(
            router.namespace, command.event, conversation.identity, command.correlation, conversation.sid, gateway
        )
        with bound_contextvars(correlation=command.correlation):
            try:
                route = router.match(command.event)
                payload = ok_payload(await route.controller(context, route.payload(command.args, command.attachments)))
                ok = True
            except Reject as rejection:
                log.debug(
                    "rejected", command=command.event, code=str(rejection.code), user=conversation.identity.user_id
                )
                payload, ok = error_payload(rejection.as_dict()), False
            except Exception:
                log.exception("controller failed", command=command.event, user=conversation.identity.user_id)
                payload, ok = error_payload(Reject(Code.INTERNAL).as_dict()), False
        if len(payload) > MAX_ACK_BYTES:
            log.error("outcome too large", command=command.event, bytes=len(payload))
            payload, ok = error_payload(Reject(Code.INTERNAL).as_dict()), False
        self._ack(gateway, command.tag, payload, ok=ok)

    def _ack(self, gateway: str, tag: int, payload: bytes, *, ok: bool) -> None:
        self._acks[gateway].append(Ack(tag, payload, ok))
        if not self._flushing:
            self._flushing = True
            # A task runs on the next tick, when every ack of this one has been gathered.
            self._tasks.spawn(self._flush(), name="acks")

    async def _flush(self) -> None:
        self._flushing = False
        gathered, self._acks = self._acks, defaultdict(list)
        for gateway, acks in gathered.items():
            subject = subjects.acks(gateway)
            chunk: list[Ack] = []
            size = 0
            for ack in acks:
                if chunk and size + len(ack.payload) > MAX_ACK_BYTES:
                    await self._bus.publish(subject, AckBatch(chunk).encode())
                    chunk, size = [], 0
                chunk.append(ack)
                size += len(ack.payload)
            await self._bus.publish(subject, AckBatch(chunk).encode())
