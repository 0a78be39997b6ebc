"""All parts of a deployment as processes, a link that can be broken between every two, and a balancer in front."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.chaos.clock import Clock, compiled
from tests.chaos.servers import Nats, Postgres, Service
from tests.support.proxy import Proxy
from tests.support.stack.balancer import Balancer
from tests.support.stack.stack import ADMIN_PASSWORD, SECRET

NAMESPACES = """
[namespaces."/chat"]
service = "chat"
recovery = 60
"""
NEEDS_POSTGRES = ("auth", "chat")


class Target(NamedTuple):
    """A gateway as the balancer finds it: behind its link."""

    name: str
    port: int


@dataclass(frozen=True)
class Layout:
    """How many there are of each."""

    gateways: int = 2
    chats: int = 2
    auths: int = 2

    @property
    def services(self) -> tuple[str, ...]:
        """Our processes, by name."""
        counts = {"auth": self.auths, "chat": self.chats, "gateway": self.gateways}
        return tuple(f"{kind}{number}" for kind, count in counts.items() for number in range(1, count + 1))

    @property
    def processes(self) -> tuple[str, ...]:
        """Everything that can be killed."""
        return (*self.services, "nats", "postgres")

    @property
    def links(self) -> tuple[str, ...]:
        """Everything that can be cut."""
        to_postgres = (f"{name}>postgres" for name in self.services if name.startswith(NEEDS_POSTGRES))
        from_clients = (f"clients>{name}" for name in self.services if name.startswith("gateway"))
        return (*(f"{name}>nats" for name in self.services), *to_postgres, *from_clients)


class Stack:
    """A running deployment."""

    def __init__(self, layout: Layout, directory: Path) -> None:
        self.layout = layout
        self.directory = directory
        library = compiled(directory)
        self.clocks_jump = library is not None
        self.clocks = {name: Clock(library, directory / f"{name}.clock") for name in layout.processes if name != "nats"}
        self.nats = Nats(directory / "nats")
        self.postgres = Postgres(directory / "pg", self.clocks["postgres"])
        self.services: dict[str, Service] = {}
        self.links: dict[str, Proxy] = {}
        self.url = ""
        """Where clients connect."""

    @property
    def parts(self) -> dict[str, Service | Nats | Postgres]:
        """Everything that can be killed, by name."""
        return {**self.services, "nats": self.nats, "postgres": self.postgres}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Stack]:
        """Run until the block ends."""
        async with AsyncExitStack() as stack:
            stack.callback(self._kill)
            for server in (self.nats, self.postgres):
                server.start()
            await asyncio.gather(self.nats.ready(), self.postgres.ready())
            for link in self.layout.links:
                source, _, target = link.partition(">")
                if target in {"nats", "postgres"}:
                    url = self.nats.url if target == "nats" else self.postgres.url
                    self.links[link] = await stack.enter_async_context(Proxy.running(url))
            for name in self.layout.services:
                self.services[name] = self._service(name)
                self.services[name].start()
            await asyncio.gather(*(service.ready() for service in self.services.values()))
            targets: list[Target] = []
            for link in self.layout.links:
                source, _, target = link.partition(">")
                if source == "clients":
                    proxy = await stack.enter_async_context(Proxy.running(self.services[target].url))
                    self.links[link] = proxy
                    targets.append(Target(target, proxy.port))
            self.url = (await stack.enter_async_context(Balancer.running(targets))).url
            yield self

    def _service(self, name: str) -> Service:
        (self.directory / "namespaces.toml").write_text(NAMESPACES)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PARLEY_")}
        environment |= self.clocks[name].environment
        environment |= {
            "PARLEY_NATS_URL": self.links[f"{name}>nats"].url,
            "PARLEY_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "PARLEY_AUTH_REGISTER_RATE_ADDRESS": "1000/minute",
            "PARLEY_AUTH_HS256_SECRET": SECRET,
            "PARLEY_NAMESPACES_FILE": str(self.directory / "namespaces.toml"),
            "PARLEY_GATEWAY_DRAIN_SECONDS": "0.2",
        }
        if (link := f"{name}>postgres") in self.links:
            environment["PARLEY_DATABASE_URL"] = self.links[link].url
        return Service(name.rstrip("0123456789"), environment, self.directory, name)

    async def healed(self) -> None:
        """End every fault, and wait until everybody is ready."""
        for clock in self.clocks.values():
            clock.set(0)
        for link in self.links.values():
            link.mend()
        for part in self.parts.values():
            if not part.running:
                part.start()
            part.send(signal.SIGCONT)
        await asyncio.gather(*(part.ready() for part in self.parts.values()))

    def _kill(self) -> None:
        for part in self.parts.values():
            if part.running:
                part.kill()
