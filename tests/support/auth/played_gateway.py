"""Gateways as auth hears of them, played by a subscriber."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.msg import Msg

from parley.common.nats.bus import Bus, connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.connections import ConnectionInfo
from parley.common.wire.operations import (
    FetchedConnections,
    Kick,
    ListConnections,
    OperationReport,
    Recheck,
    RenewAddressBans,
    decode_operation,
)
from parley.framework.remote import gateway_registry
from parley.framework.remote.gateway_registry import GatewayRegistry
from tests.support.auth.service import Auth
from tests.support.waiting import until


class PlayedGateway:
    """A gateway as far as auth can tell: alive on the bus, answering kicks and listings for made-up connections."""

    def __init__(self, bus: Bus, users: list[str]) -> None:
        self.bus = bus
        self.users = users
        self.kicks: list[Kick] = []
        self.told: list[Recheck | RenewAddressBans] = []
        self.silent = False
        self.on_kick: Callable[[], Any] = lambda: None

    async def start(self) -> None:
        await self.bus.subscribe(subjects.GATEWAYS, self._hear)
        await self.bus.subscribe(subjects.gateway(self.bus.run_address, ""), self._hear)
        await self.bus.flush()

    async def _hear(self, message: Msg) -> None:
        operation = decode_operation(message.data)
        if isinstance(operation, Kick):
            await self._kick(operation)
        elif isinstance(operation, ListConnections):
            await self._list(operation)
        elif isinstance(operation, Recheck | RenewAddressBans) and not self.silent:
            self.told.append(operation)
            found = sum(self.users.count(user) for user in operation.selection.users)
            await self.bus.publish(operation.inbox, OperationReport(self.bus.run_address, found).encode())

    async def _kick(self, kick: Kick) -> None:
        self.kicks.append(kick)
        if (waiting := self.on_kick()) is not None:
            await waiting
        if not self.silent:
            kicked = {kick.selection.user_id, *kick.selection.users}
            ended = sum(user in kicked for user in self.users)
            self.users = [user for user in self.users if user not in kicked]
            await self.bus.publish(kick.inbox, OperationReport(self.bus.run_address, ended).encode())

    async def _list(self, wanted: ListConnections) -> None:
        found = [
            ConnectionInfo(f"sid{number}", user, "Somebody", "/chat", self.bus.instance, "192.0.2.1", "websocket", 1e9)
            for number, user in enumerate(self.users)
            if wanted.selection.user_id in ("", user)
        ]
        if not self.silent:
            listed = found[: wanted.limit]
            await self.bus.publish(wanted.inbox, FetchedConnections(self.bus.run_address, len(listed), listed).encode())


@asynccontextmanager
async def played_gateway(nats_url: str, name: str, users: list[str]) -> AsyncGenerator[PlayedGateway]:
    async with connect(ServiceSettings(nats_url=nats_url, instance=name), "gateway") as bus:
        gateway = PlayedGateway(bus, users)
        await gateway.start()
        yield gateway


def registry_of(auth: Auth) -> GatewayRegistry:
    """What auth knows of the gateways."""
    return auth.components.gateways._requests.registry


async def settled(auth: Auth, *names: str) -> None:
    """Wait until the registry knows exactly these gateways, and have it think that it has listened for long."""
    registry = registry_of(auth)
    await until(lambda: {registry.name_of(address) for address in registry.alive()} == set(names))
    registry._listening_since -= gateway_registry.WARM_AFTER
