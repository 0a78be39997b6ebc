"""Whole processes on the doubles: chats and gateways made of the product's own parts, and auth, which says yes.

A chat is what its service's lifespan opens, with dispatcher and responder; a gateway is `Gateway` itself with sessions
instead of sockets. Both are started again after they were killed.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from functools import cache
from types import SimpleNamespace
from typing import Any

import msgspec

from parley.chat.api.socket import router
from parley.chat.delivery.announcer import Announcer
from parley.chat.delivery.publisher import NAMESPACE, Publisher
from parley.chat.delivery.room_events import ChatLog
from parley.chat.domain.batch_state import BatchDecision
from parley.chat.log.database import DATABASE_ERRORS, Pool
from parley.chat.log.erasure.erasure_runner import ErasureRunner
from parley.chat.log.writer import Writer
from parley.chat.reading.read_cursors import ReadCursors
from parley.chat.search.finder import Finder
from parley.chat.settings import ChatSettings
from parley.chat.signals.room_places import RoomPlaces
from parley.chat.signals.room_signals import RoomSignals
from parley.chat.state import ChatState
from parley.common.process.tasks import Tasks
from parley.common.rate_limiter import RateLimiter
from parley.common.wire import subjects
from parley.common.wire.identity import Authenticate, CheckWelcome, Identity, UnwelcomeUsers
from parley.framework.remote.emitter import Emitter
from parley.framework.remote.room_publisher import RoomPublisher
from parley.framework.serving.dispatcher import Dispatcher
from parley.framework.serving.gateway_responder import GatewayResponder
from parley.gateway.admission.admission import claimed_identity
from parley.gateway.admission.memberships import MembershipCheck
from parley.gateway.gateway import Gateway
from parley.gateway.namespaces import Namespace
from parley.gateway.settings import GatewaySettings
from tests.simulation.broker import SimulatedBus
from tests.simulation.loop import Process
from tests.simulation.session import SessionPool
from tests.simulation.world import World

ROUND = 120.0
"""Seconds in which a gateway asks about everybody, as in the product."""


@cache
def defaults(kind: Any) -> Any:
    """Settings without the environment's."""
    return kind.model_construct(
        **{name: one.get_default(call_default_factory=True) for name, one in kind.model_fields.items()}
    )


def token_of(user_id: str) -> str:
    """A token that says who it is."""
    return f"x.{b64encode(msgspec.json.encode({'sub': user_id})).decode().rstrip('=')}.x"


class Replica:
    """A process of a kind that is started again; `up` once it serves."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.world = stack.world
        self.name = name
        self.runs = 0
        self.up = False
        self.begin()

    def begin(self) -> None:
        """Start the process anew, with nothing in its memory."""
        self.up = False
        self.runs += 1
        self.process: Process = self.world.process(self.name)
        self.bus = SimulatedBus(self.world.broker, self.process, self.kind, f"run{self.runs}")
        self.process.spawn(self.serve()).add_done_callback(self._served)

    kind = ""

    async def serve(self) -> None:
        """Open everything, and say so."""
        raise NotImplementedError

    def _served(self, task: asyncio.Task[None]) -> None:
        if task.exception() is not None:
            self.world.loop.fail(f"{self.name} cannot serve: {task.exception()!r}")

    def kill(self, seconds: float) -> None:
        """End it at once; it is back after a while."""
        self.world.note("kill", self.name)
        self.world.count("kills")
        self.up = False
        self.process.kill()
        self.world.loop.after(seconds, self.world.loop.physics, self.begin)


class Chat(Replica):
    """One replica of the chat service."""

    kind = "chat"

    async def serve(self) -> None:
        """Open what the service's lifespan does, and what runs the service around it."""
        bus: Any = self.bus
        settings: ChatSettings = defaults(ChatSettings)
        emitter = Emitter(bus, "/").of(NAMESPACE)
        rooms = RoomPublisher(bus, NAMESPACE, emitter.registry if self.stack.together else None)
        pool: Any = Pool(SessionPool(self.world.database), 2)
        cursors = ReadCursors(pool, rooms)
        publisher = Publisher(rooms)

        async def publish(decision: BatchDecision) -> None:
            cursors.sent(decision.appended)
            if not self.stack.quiet:
                await publisher.publish(decision)

        self.writer = writer = Writer(publish, settings)
        while True:
            try:
                await writer.connect()
                break
            except DATABASE_ERRORS:
                await asyncio.sleep(0.2)
        announcer = Announcer(rooms, bus, "", writer.forget_rooms)
        rates = RateLimiter(settings.chat_user_requests_per_second, settings.chat_user_requests_burst)
        consumers: Any = None  # nobody follows the log here but the announcer
        erasing = ErasureRunner("", pool, None, 0)
        signals = RoomSignals(rooms, emitter, RoomPlaces(pool))
        own: Any = SimpleNamespace(cursors=cursors)  # of themselves users ask how far they have read
        log = ChatLog(pool, announcer)
        state = ChatState(bus, pool, writer, log, consumers, erasing, rates, signals, own, Finder(pool))
        tasks = self.tasks = Tasks()
        tasks.forever(writer.run(), name="writer")
        tasks.forever(announcer.run(), name="announcements")
        tasks.forever(cursors.run(), name="read cursors")
        self.dispatcher = Dispatcher(bus, {NAMESPACE: router}, {NAMESPACE: emitter}, state)
        await self.dispatcher.start()
        self.responder = GatewayResponder(bus, router, emitter, state)
        await self.responder.start()
        self.up = True


class SimulatedGateway(Replica):
    """One gateway."""

    kind = "gateway"

    async def serve(self) -> None:
        """Start a gateway's parts, without those that only look after a real process."""
        bus: Any = self.bus
        namespaces = {NAMESPACE: Namespace("chat", recovery=self.stack.recovery)}
        self.gateway = gateway = Gateway(bus, namespaces, defaults(GatewaySettings))
        gateway._memberships = MembershipCheck(bus, gateway.connections, gateway._fanout, round_seconds=ROUND)
        gateway.server.engine.broadcast = _broadcast  # type: ignore[method-assign]
        await gateway._commands.start()
        await gateway._fanout.start()
        await gateway._recovery.start()
        gateway._memberships.start()
        bus.on_reconnect(gateway._reconcile)
        gateway._loop_monitor.on_stall(gateway._reconcile)
        gateway._loop_monitor.on_stall(gateway._fanout.verify_all)
        gateway._fanout.on_missed = gateway._memberships.verify_all
        gateway._fanout.hints.on_uncertain_join = gateway._memberships.verify
        gateway._fanout.on_restored = gateway._recovery.forget_all
        gateway._tasks.forever(gateway._loop_monitor.run(), name="loop monitor")
        gateway._tasks.forever(gateway._recovery.run_sweep(), name="lost connections")
        self.up = True

    def opened(self, session: Any, text: str) -> None:
        """A transport was opened, and the client said CONNECT."""
        if not self.up:
            return
        self.gateway.server.session_opened(session)
        self.received(session, text)

    def received(self, session: Any, text: str) -> None:
        """A client sent a packet."""
        if self.up and not session.over:
            self.gateway.server.message_received(session, text)


def _broadcast(sessions: Any, packet: Any, *, volatile: bool = False) -> None:
    for session in sessions:
        session.send(packet, volatile=volatile)


class Stack:
    """All processes of one run."""

    def __init__(
        self, world: World, *, chats: int, gateways: int, recovery: int, together: bool, quiet: bool = False
    ) -> None:
        self.world = world
        self.recovery = recovery
        self.together = together
        """Whether what goes to several rooms is one message that all gateways hear."""
        self.quiet = quiet
        """Whether writers tell nobody what they commit, so that gateways hear of it from the log alone."""
        self.chats = [Chat(self, f"chat{number}") for number in range(chats)]
        self.gateways = [SimulatedGateway(self, f"gw{number}") for number in range(gateways)]
        auth = world.process("auth")
        self._auth = SimulatedBus(world.broker, auth, "auth", "run1")
        auth.spawn(self._serve_auth())

    async def _serve_auth(self) -> None:
        async def authenticate(question: Authenticate) -> Identity:
            user_id = claimed_identity(question.token).user_id
            return Identity(user_id, user_id)

        async def welcome(_question: CheckWelcome) -> UnwelcomeUsers:
            return UnwelcomeUsers([])

        await self._auth.respond(subjects.AUTHENTICATE, Authenticate, authenticate, "auth")
        await self._auth.respond(subjects.WELCOME, CheckWelcome, welcome, "auth")

    @property
    def replicas(self) -> list[Replica]:
        """Chats and gateways."""
        return [*self.chats, *self.gateways]

    @property
    def all_up(self) -> bool:
        """Whether everything serves."""
        return all(replica.up for replica in self.replicas)
