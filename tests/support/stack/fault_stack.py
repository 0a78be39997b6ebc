"""A stack with a proxy between every two of its parts, and a service that notes who is connected."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from collections.abc import AsyncGenerator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from parley.cli.stack import embedded
from tests.support.clients.conversation import AnyClient
from tests.support.postgres import run_sql, with_database
from tests.support.proxy import Proxy
from tests.support.services.presence_service import NAMESPACE
from tests.support.stack.forked import ForkedProcess
from tests.support.stack.stack import READY_SECONDS, Process, Stack
from tests.support.waiting import until

NAMESPACES = f"""
[namespaces."/chat"]
service = "chat"

[namespaces."{NAMESPACE}"]
service = "presence"
"""


class Presence(Process):
    """The service that notes."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        super().__init__("presence", environment, directory, "presence1")
        self._file = directory / "presence.jsonl"

    def start(self) -> None:
        """Start it; `ready` waits for it."""
        self._file.write_text("")
        self._process = ForkedProcess(
            "tests.support.services.presence_service", str(self._file), environment=self._environment, log=self._log
        )

    async def ready(self) -> None:
        """Wait until it serves."""
        await until(lambda: self.notes("ready") or not self.running, "the service is ready", seconds=READY_SECONDS)
        assert self.running, self.log()

    def notes(self, kind: str) -> list[list[Any]]:
        """What was noted of a kind."""
        noted = [json.loads(line) for line in self._file.read_text().splitlines()]
        return [rest for first, *rest in noted if first == kind]

    def online(self) -> set[str]:
        """The sids that came and have not gone."""
        return {sid for sid, *_ in self.notes("online")} - {sid for sid, *_ in self.notes("offline")}

    def gone(self, sid: str) -> list[str]:
        """The reasons for which a sid was said to have gone: one, or none."""
        return [reason for gone, _, reason in self.notes("offline") if gone == sid]

    async def shows(
        self, present: Collection[AnyClient], *, absent: Collection[AnyClient] = (), timeout: float
    ) -> None:
        """Wait until of these clients' connections exactly those that last are online, and none came or went twice."""
        deadline = time.monotonic() + timeout
        while True:
            sids = {client.connects[-1] for client in present}
            known = {sid for client in (*present, *absent) for sid in client.connects}
            online = self.online() & known
            if online == sids:
                break
            gone = {sid: self.gone(sid) for sid in sids - online}
            assert time.monotonic() < deadline, f"said to be gone: {gone}, said to be there: {online - sids}"
            await asyncio.sleep(0.05)
        for kind in ("online", "offline"):
            noted = [sid for sid, *_ in self.notes(kind) if sid in known]
            assert len(noted) == len(set(noted)), f"{kind} twice"


class FaultStack(Stack):
    """Two gateways, two chats, auth and presence, each with a link of its own to NATS and to Postgres."""

    def __init__(
        self, database_url: str, nats_url: str, directory: Path, proxies: dict[str, Proxy],
        databases: dict[str, Proxy], **settings: str,
    ) -> None:  # fmt: skip
        super().__init__(database_url, nats_url, directory, **settings)
        self.proxies = proxies
        """To NATS, by the name of the process."""
        self.databases = databases
        self.directory = directory
        self.presence = Presence(dict(self.auth._environment), directory)
        self.processes.append(self.presence)
        for process in self.processes:
            process._environment["PARLEY_NATS_URL"] = proxies[process.name].url
            if process.name in databases:
                process._environment["PARLEY_DATABASE_URL"] = databases[process.name].url

    @classmethod
    @asynccontextmanager
    async def running(cls, postgres_url: str, template_database: str, directory: Path) -> AsyncGenerator[FaultStack]:
        """Run until the block ends."""
        database = f"faults_{uuid.uuid4().hex[:8]}"
        await run_sql(postgres_url, f"CREATE DATABASE {database} TEMPLATE {template_database}")
        (directory / "namespaces.toml").write_text(NAMESPACES)
        async with AsyncExitStack() as stack:
            nats_url = stack.enter_context(embedded.nats(directory / "nats"))
            names = ("auth1", "chat1", "chat2", "gateway1", "gateway2", "presence1")
            proxies = {name: await stack.enter_async_context(Proxy.running(nats_url)) for name in names}
            url = with_database(postgres_url, database)
            databases = {name: await stack.enter_async_context(Proxy.running(url)) for name in names[:3]}
            running = cls(
                url, nats_url, directory, proxies, databases,
                PARLEY_NAMESPACES_FILE=str(directory / "namespaces.toml"), PARLEY_GATEWAY_DRAIN_SECONDS="0.2",
            )  # fmt: skip
            await running.start()
            try:
                yield running
            finally:
                for process in running.processes:
                    process.kill()
                await running.http.aclose()

    def proxy(self, process: Process) -> Proxy:
        """The link of a process to NATS."""
        return self.proxies[process.name]

    def stall(self, process: Process) -> None:
        """Let a process stand still, as a virtual machine that is moved does."""
        assert process._process is not None
        process._process.send_signal(signal.SIGSTOP)

    def resume(self, process: Process) -> None:
        """Let it go on."""
        assert process._process is not None
        process._process.send_signal(signal.SIGCONT)

    async def healed(self) -> None:
        """End every fault, and wait until everybody is ready."""
        for proxy in (*self.proxies.values(), *self.databases.values()):
            proxy.mend()
        for process in self.processes:
            if not process.running:
                process.start()
            self.resume(process)
        await asyncio.gather(*(process.ready() for process in self.processes))
        await until(self._all_known, "everybody is known to everybody", seconds=READY_SECONDS)

    async def _all_known(self) -> bool:
        """Whether auth has heard of every gateway."""
        known = [gateway["id"] for gateway in (await self.admin("GET", "/gateways"))["gateways"]]
        return all(any(name.startswith(gateway.name) for name in known) for gateway in self.gateways)

    async def rest(self, chat: Process, account: dict[str, Any], method: str, path: str, **body: Any) -> dict[str, Any]:
        """A request to one chat, as this user."""
        answer = await self.http.request(
            method, f"{chat.url}/api{path}", json=body or None,
            headers={"Authorization": f"Bearer {account['access_token']}"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        return answer.json()


async def sleep_until(moment: float) -> None:
    """For faults that last a given time."""
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
