"""A service: the routers of its namespaces, the lifespan of what its controllers work with, and how it runs.

    router = Router("/dice")

    @router.on("roll")
    async def roll(context: Context, sides: int) -> Rolled: ...

    service = Service("dice", router)

A module of the service makes it at import, and nothing happens until `running` is entered: by `running.run`, by the
testing kit, or by a test. A running service works on one event loop and one connection to NATS.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Generic

from parley.common.nats import bus as buses
from parley.common.nats.bus import Bus
from parley.common.process.settings import ServiceSettings
from parley.common.process.tasks import Tasks
from parley.framework.remote.emitter import Emitter
from parley.framework.remote.room_publisher import RoomPublisher
from parley.framework.routing.context import StateT
from parley.framework.routing.router import Router
from parley.framework.serving.dispatcher import Dispatcher
from parley.framework.serving.gateway_responder import GatewayResponder
from parley.framework.serving.log_consumers import Consume, Consumer, Consumers


class Runtime:
    """The parts of a running service that its lifespan may build on."""

    def __init__(self, bus: Bus, settings: ServiceSettings, tasks: Tasks) -> None:
        self.bus = bus
        """The connection to NATS, for requests to other services and from them."""
        self.settings: Any = settings
        self.tasks = tasks
        """Background tasks. They are cancelled before the lifespan closes what it opened."""
        # One for all namespaces, since they share its registry of gateways.
        self._emitter = Emitter(bus, "/")

    def emitter(self, namespace: str) -> Emitter:
        """Return the emitter of a namespace."""
        return self._emitter.of(namespace)

    def rooms(self, namespace: str) -> RoomPublisher:
        """Return the publisher to a namespace's rooms."""
        return RoomPublisher(self.bus, namespace, self._emitter.registry)


Lifespan = Callable[[Runtime], AbstractAsyncContextManager[StateT]]
"""Opens what the controllers work with, such as a pool, yields it as their `context.state`, and closes it."""


class Service(Generic[StateT]):
    """The definition of a service, before it runs. Its name is the queue group that its replicas share."""

    def __init__(
        self,
        name: str,
        *routers: Router[StateT],
        lifespan: Lifespan[StateT] | None = None,
        settings: type[ServiceSettings] = ServiceSettings,
    ) -> None:
        """Define a service. Raises `ValueError` when two routers are for one namespace."""
        self.name = name
        self.settings = settings
        self.routers: dict[str, Router[StateT]] = {}
        for router in routers:
            if router.namespace in self.routers:
                raise ValueError(f"{name} has two routers for {router.namespace}")
            self.routers[router.namespace] = router
        self.consumers: dict[str, Consumer] = {}
        self._lifespan = lifespan

    def consumer(self, name: str, *, events: str = "*", beginning: bool = False) -> Callable[[Consume], Consume]:
        """Hand a function the events of chat's log whose types match, in batches; see `serving.log_consumers`.

        Chat remembers under the name how far the consumer is, so the name must not change. A new consumer begins with
        the events from then on or, with `beginning`, with the oldest of the log. Raises `ValueError` for a name that is
        taken.
        """
        if name in self.consumers:
            raise ValueError(f"{self.name} has two consumers with the name {name}")

        def register(consume: Consume) -> Consume:
            self.consumers[name] = Consumer(name, events, beginning, consume)
            return consume

        return register

    @asynccontextmanager
    async def running(self, settings: ServiceSettings) -> AsyncGenerator[Running[StateT]]:
        """Connect to NATS and serve until the block ends; then let the commands in hand end.

        Parts are opened in the order in which they need each other, and closed in reverse by the exit stack.
        """
        async with buses.connect(settings, self.name) as bus, AsyncExitStack() as stack:
            tasks = Tasks()
            # Pushed twice: this one is for a lifespan that fails while it opens; the one below ends the tasks before
            # the lifespan closes what they work with.
            stack.push_async_callback(tasks.close)
            runtime = Runtime(bus, settings, tasks)
            # First of all, since the registry of gateways takes two seconds to warm up.
            await runtime.emitter("/").start()
            state: Any = None
            if self._lifespan is not None:
                state = await stack.enter_async_context(self._lifespan(runtime))
                stack.push_async_callback(tasks.close)
            emitters = {namespace: runtime.emitter(namespace) for namespace in self.routers}
            # The dispatcher before the responders: a client that was admitted may send an event at once.
            dispatcher = Dispatcher(bus, self.routers, emitters, state)
            stack.push_async_callback(dispatcher.close)
            await dispatcher.start()
            for namespace, router in self.routers.items():
                responder = GatewayResponder(bus, router, emitters[namespace], state)
                stack.push_async_callback(responder.close)
                await responder.start()
            if self.consumers:
                await Consumers(bus, [*self.consumers.values()], tasks).start()
            # NATS knows the subscriptions before anybody is told that the service runs.
            await bus.flush()
            yield Running(runtime, state)


class Running(Generic[StateT]):
    """A running service, as `Service.running` yields it."""

    def __init__(self, runtime: Runtime, state: StateT) -> None:
        self.runtime = runtime
        self.state = state

    def check(self) -> str | None:
        """Return the reason for which the service is not ready, or None."""
        return self.runtime.bus.check()
